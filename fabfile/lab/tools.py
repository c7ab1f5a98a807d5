"""The programs that the lab needs on this machine, and how it runs them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fabfile import paths
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

USER_NAMESPACE = ("unshare", "--user", "--map-root-user", "--map-auto")
"""In front of a program: an ordinary user is root for it, and has the user ids of /etc/subuid besides."""

ENDS_WITH_US = ("setpriv", "--pdeathsig=KILL")
"""In front of a command: it is killed when we are. What it starts in the background is not, but see PRIVATE_MOUNTS."""

MESSAGES = {"LC_ALL": "C.UTF-8"}
"""Programs print messages that we know, and take names that are not ASCII."""

ASIDE = Path("/mnt")
"""What `aside` calls the directory that it is given."""


def which(program: str) -> str | None:
    """Where a program is, if it is there: an ordinary user has mke2fs, too, though not in PATH."""
    return shutil.which(program, path=_path())


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def check() -> None:
    """Refuse a machine that cannot run the lab, listing all that it lacks and the command that installs it."""
    for variable, directory in (("LAB_DIR", paths.lab()), ("XDG_CACHE_HOME", paths.cache())):
        try:
            str(directory).encode()
        except UnicodeEncodeError as error:
            raise Refused(f"{variable} is not UTF-8", repr(str(directory)), hint="name another directory") from error
    lacking = {tool: why for tool, why in NEEDED.items() if not which(tool)}
    if lacking:
        packages = " ".join(sorted({package for package, _ in lacking.values()}))
        raise Refused(
            "this machine lacks what the lab needs",
            "\n".join(f"{tool}: {why}" for tool, (_, why) in lacking.items()),
            hint=f"apt-get install --no-install-recommends {packages}",
        )
    if os.geteuid():
        _check_user_namespace()


def _check_user_namespace() -> None:
    try:
        run("true", before=as_root())
    except Failed as failed:
        user = pwd.getpwuid(os.geteuid()).pw_name
        raise Refused(
            f"the lab cannot make images as {user}",
            f"that needs a user namespace with ids of its own (uidmap, {user} in /etc/subuid)\n{failed.details}",
            hint="sudo ./bootstrap inv lab.up",
        ) from failed


def as_root() -> tuple[str, ...]:
    """What stands in front of a program that root would run, to make an image: nothing where we are root."""
    return USER_NAMESPACE if os.geteuid() else ()


def run(
    *command: str | Path,
    log: Path | None = None,
    input: bytes | None = None,
    cwd: Path | None = None,
    before: Sequence[str | Path] = (),
) -> str:
    """Run a command and return what it printed. It is killed when we are.

    Args:
        command: program and arguments.
        log: a file that gets the output too.
        input: standard input.
        cwd: the directory to run it in.
        before: what runs the command, such as PRIVATE_MOUNTS.

    Raises:
        Failed: a non-zero exit code, or there is no such program.
    """
    args: Sequence[str] = [str(part) for part in command]
    done = subprocess.run(
        [*ENDS_WITH_US, *before, *args],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, input=input or b"", cwd=cwd,
        env={**os.environ, **MESSAGES, "PATH": _path()},
        check=False,
    )  # fmt: skip
    output = done.stdout.decode(errors="replace")
    if log:
        try:
            with log.open("a") as out:
                out.write(output)
        except OSError:
            if not done.returncode:
                raise
            log = None  # on a full disk: what the command says of that is the better error
    if done.returncode:
        tail = "\n".join(output.splitlines()[-15:])
        raise Failed(
            f"{args[0]} failed",
            f"{' '.join(args)[:300]}\nexit code {done.returncode}\n{tail}",
            hint=f"full log: {log}" if log else "",
        )
    return output


def aside(directory: Path, *command: str | Path, log: Path) -> str:
    """Run a command as `run` does, with mounts of its own, in a directory that it sees as ASIDE.

    So no path that it is given has a blank or a quote in it: mmdebstrap and apt do not take all of those.

    Args:
        directory: where it runs.
        command: program and arguments.
        log: a file that gets the output too.

    Raises:
        Failed: a non-zero exit code.
    """
    bind = ("sh", "-c", 'mount --bind . "$0" && cd "$0" && exec "$@"', ASIDE)
    return run(*command, log=log, cwd=directory, before=(*as_root(), *PRIVATE_MOUNTS, *bind))
