"""The programs that the lab needs on the controller, and how they are run."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from fabfile import paths
from fabfile.errors import Failed, Refused

NEEDED = {
    "qemu-system-x86_64": ("qemu-system-x86", "runs the machines, or their network"),
    "mmdebstrap": ("mmdebstrap", "makes the images from Debian packages"),
    "mke2fs": ("e2fsprogs", "makes the images' file system"),
    "mount": ("mount", "mounts what they are made from"),
    "ssh": ("openssh-client", "waits for the machines and opens a shell"),
    "ssh-keygen": ("openssh-client", "makes their keys"),
    "git": ("git", "makes the mirror's repository of containerd"),
    "xz": ("xz-utils", "unpacks containerd's source"),
}

PRIVATE_MOUNTS = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
"""Prefix of a program that mounts: when the program ends, its mounts and all processes that it started are gone.

So no clean-up descends into /dev or /sys, and nothing keeps writing to a directory that the next run creates again.
"""

USER_NAMESPACE = ("unshare", "--user", "--map-root-user", "--map-auto")
"""Prefix of a program that needs root: an ordinary user is root within it, and has the user ids of /etc/subuid."""

ENDS_WITH_US = ("setpriv", "--pdeathsig=KILL")
"""Prefix of a command: it is killed when we are, but not what it starts in the background; see PRIVATE_MOUNTS."""

MESSAGES = {"LC_ALL": "C.UTF-8"}
"""So that programs print messages that we know, and accept names that are not ASCII."""

ASIDE = Path("/mnt")
"""The path at which a command run by `aside` sees its directory."""


def which(program: str) -> str | None:
    """Return the path of a program, or None; /usr/sbin is searched as well, as an ordinary user's PATH lacks it."""
    return shutil.which(program, path=_path())


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def check() -> None:
    """Refuse a machine that cannot run the lab, with everything it lacks, and the command that installs it."""
    for variable, directory in (("LAB_DIR", paths.lab()), ("XDG_CACHE_HOME", paths.cache())):
        try:
            str(directory).encode()
        except UnicodeEncodeError as error:
            raise Refused(f"{variable} is not UTF-8", repr(str(directory)), hint="name another directory") from error
    lacking = {tool: why for tool, why in NEEDED.items() if not which(tool)}
    if lacking:
        packages = " ".join(sorted({package for package, _ in lacking.values()}))
        raise Refused(
            "this controller lacks what the lab needs",
            "\n".join(f"{tool}: {why}" for tool, (_, why) in lacking.items()),
            hint=f"apt-get install --no-install-recommends {packages}",
        )
    try:
        run("true", before=(*as_root(), *PRIVATE_MOUNTS))
    except Failed as failed:
        raise _cannot_mount(failed.details) from failed


def _cannot_mount(details: str) -> Refused:
    if not os.geteuid():
        return Refused(
            "the lab cannot make images in this container",
            f"that needs mounts of its own (CAP_SYS_ADMIN)\n{details}",
            hint="run the container with --privileged",
        )
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may run as any number
        user = str(os.geteuid())
    return Refused(
        f"the lab cannot make images as {user}",
        f"that needs a user namespace with ids of its own (uidmap, {user} in /etc/subuid)\n{details}",
        hint="sudo ./bootstrap inv lab.up",
    )


def as_root() -> tuple[str, ...]:
    """Return the prefix for a program that needs root to make an image; empty if we are root."""
    return USER_NAMESPACE if os.geteuid() else ()


def run(
    *command: str | Path,
    log: Path | None = None,
    input: bytes | None = None,
    cwd: Path | None = None,
    before: Sequence[str | Path] = (),
    environment: Mapping[str, str] = {},
) -> str:
    """Run a command and return its output. It is killed when we are.

    Args:
        command: program and arguments.
        log: file to which the output is appended as well.
        input: standard input.
        cwd: working directory.
        before: prefix of the command, such as PRIVATE_MOUNTS.
        environment: variables that differ from ours.

    Raises:
        Failed: its exit code is not 0, or there is no such program.
    """
    args: Sequence[str] = [str(part) for part in command]
    done = subprocess.run(
        [*ENDS_WITH_US, *before, *args],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, input=input or b"", cwd=cwd,
        env={**os.environ, **environment, **MESSAGES, "PATH": _path()},
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
            log = None  # on a full disk, the command's own message is the better error
    if done.returncode:
        tail = "\n".join(output.splitlines()[-15:])
        raise Failed(
            f"{args[0]} failed",
            f"{' '.join(args)[:300]}\nexit code {done.returncode}\n{tail}",
            hint=f"full log: {log}" if log else "",
        )
    return output


def aside(directory: Path, *command: str | Path, log: Path, environment: Mapping[str, str] = {}) -> str:
    """Run a command like `run`, with private mounts, in a directory that it sees as ASIDE.

    So none of its paths contains blanks or quotes, which mmdebstrap and apt do not all accept.

    Args:
        directory: working directory.
        command: program and arguments.
        log: file to which the output is appended as well.
        environment: variables that differ from ours.

    Raises:
        Failed: its exit code is not 0.
    """
    bind = ("sh", "-c", 'mount --bind . "$0" && cd "$0" && exec "$@"', ASIDE)
    return run(*command, log=log, cwd=directory, before=(*as_root(), *PRIVATE_MOUNTS, *bind), environment=environment)
