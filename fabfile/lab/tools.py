"""The programs that the lab needs on this machine, and how it runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fabfile.errors import Failed, Refused

NEEDED = {
    "qemu-system-x86_64": ("qemu-system-x86", "runs the machines, or their network"),
    "mmdebstrap": ("mmdebstrap", "makes the images from Debian packages"),
    "mke2fs": ("e2fsprogs", "makes the images' file system"),
    "ssh": ("openssh-client", "waits for the machines and opens a shell"),
    "ssh-keygen": ("openssh-client", "makes their keys"),
    "git": ("git", "makes the mirror's repository of containerd"),
    "xz": ("xz-utils", "unpacks containerd's source"),
}

PRIVATE_MOUNTS = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
"""In front of a program that mounts: when it ends or is killed, so do its mounts and all processes that it started.

So no clean-up walks into /dev or /sys, and nothing goes on writing in a directory that the next run makes anew.
"""

ENDS_WITH_US = ("setpriv", "--pdeathsig=KILL")
"""In front of a command: it is killed when we are. What it starts in the background is not, but see PRIVATE_MOUNTS."""


def check() -> None:
    """Refuse a machine that cannot run the lab, naming all that it lacks and the command that mends it."""
    if os.geteuid():
        raise Refused("the lab needs root", "it makes images with Debian's tools", hint="sudo ./bootstrap inv lab.up")
    lacking = {tool: why for tool, why in NEEDED.items() if not shutil.which(tool)}
    if lacking:
        packages = " ".join(sorted({package for package, _ in lacking.values()}))
        raise Refused(
            "this machine lacks what the lab needs",
            "\n".join(f"{tool}: {why}" for tool, (_, why) in lacking.items()),
            hint=f"apt-get install --no-install-recommends {packages}",
        )


def run(*command: str | Path, log: Path | None = None, input: bytes | None = None, cwd: Path | None = None) -> str:
    """Run a command and return what it printed. It is killed when we are.

    Args:
        command: program and arguments.
        log: a file that gets the output too.
        input: standard input.
        cwd: the directory to run it in.

    Raises:
        Failed: a non-zero exit code.
    """
    args: Sequence[str] = [str(part) for part in command]
    done = subprocess.run(
        [*ENDS_WITH_US, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        input=input or b"",
        cwd=cwd,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    if log:
        with log.open("a") as out:
            out.write(output)
    if done.returncode:
        tail = "\n".join(output.splitlines()[-15:])
        raise Failed(
            f"{args[0]} failed",
            f"{' '.join(args)[:300]}\nexit code {done.returncode}\n{tail}",
            hint=f"all of it: {log}" if log else "",
        )
    return output
