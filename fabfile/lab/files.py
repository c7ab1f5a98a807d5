"""The lab's files and directories: atomic writes, careful removal, and errors that name a full disk as the cause."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from fabfile.console import say
from fabfile.errors import Failed
from fabfile.lab import tools
from fabfile.shell import quote

MOUNTS = Path("/proc/self/mountinfo")

LIMIT = 10.0
"""Seconds to wait for the last process of a killed run to stop writing into a directory that is being removed."""

ROOM = 16 << 20
"""After a failure, a disk with fewer free bytes is considered the cause."""

FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (
    errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ELOOP,
    errno.ENAMETOOLONG,
)  # fmt: skip

NO_ROOM = ("No space left on device", "Disk quota exceeded", "don't have enough free space")
"""Messages of programs about a full disk; they run with LC_ALL=C.UTF-8."""


class Unwritable(Failed):
    """A directory that the lab writes to is full, or cannot be written to."""


def write(file: Path, content: str | bytes) -> None:
    """Write a file atomically: readers see the old content or the new one, even after a kill."""
    part = file.with_name(f".{file.name}.new")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.replace(file)


def sync(directory: Path) -> None:
    """Write the file system of a directory to disk, in one call for all of its files.

    Raises:
        OSError: it could not be written.
    """
    import ctypes

    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(directory))
    finally:
        os.close(descriptor)


def mounted(directory: Path) -> list[str]:
    """List the mount points within a directory, and the directory itself if it is one."""
    inside = f"{directory.resolve()}/"
    # Blanks, tabs, newlines and backslashes are in octal there; see proc(5).
    fields = [line.split(" ")[4] for line in MOUNTS.read_text(errors="surrogateescape").splitlines()]
    places = [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field) for field in fields]
    return [place for place in places if f"{place}/".startswith(inside)]


def remove(directory: Path, limit: float = LIMIT) -> None:
    """Remove a directory that the lab created, if it exists, without following links or entering mounts.

    Args:
        directory: the directory.
        limit: seconds to keep trying, as a process of a killed run may still be writing to it.

    Raises:
        Failed: it is a link or a file, something is mounted in it, or it could not be removed.
    """
    end = monotonic() + limit
    while os.path.lexists(directory):
        if directory.is_symlink() or not directory.is_dir():
            raise Failed(
                f"{directory} is not a directory that the lab made",
                "it is a link or a file, and stays",
                hint=f"move it away: mv {quote(str(directory))} {quote(f'{directory}.old')}",
            )
        if places := mounted(directory):
            raise Failed(
                f"{directory} stays: something is mounted in it", "\n".join(places), hint=f"umount {quote(places[-1])}"
            )
        try:
            shutil.rmtree(directory)
        except PermissionError:  # files of an image, which an ordinary user owns only within the user namespace
            if not os.geteuid():
                raise
            tools.run("rm", "-rf", "--one-file-system", directory, before=tools.as_root())
        except OSError as error:
            if monotonic() > end:
                raise Failed(f"cannot remove {directory}", str(error), hint=f"rm -r {quote(str(directory))}") from error
            sleep(0.1)


def fresh(directory: Path) -> None:
    """Create an empty directory, in place of what a killed run left there.

    Raises:
        Failed: what is there could not be removed.
    """
    remove(directory)
    directory.mkdir(parents=True)


def discard(directory: Path) -> None:
    """Remove a directory after a failure; a second failure is only printed, so that the first one is reported."""
    try:
        remove(directory)
    except Failed as failed:
        say(str(failed), error=True)


@contextmanager
def writing(directory: Path, variable: str) -> Iterator[None]:
    """Report a full or read-only disk as such within this context, and tell how to use another one.

    Args:
        directory: the directory that is written to.
        variable: the environment variable that names it.

    Raises:
        Unwritable: it is full, or cannot be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _no_room(directory, variable, str(error)) from error
        if error.errno not in UNWRITABLE:
            raise
        raise Unwritable(
            f"cannot write to {directory}", str(error), hint=f"let {variable} name another directory"
        ) from error
    except Unwritable:
        raise
    except Failed as error:
        if not _full(directory) and not any(words in error.details for words in NO_ROOM):
            raise
        evidence = "\n".join(filter(None, (error.what, error.details, error.hint)))
        raise _no_room(directory, variable, evidence) from error


def _no_room(directory: Path, variable: str, evidence: str) -> Unwritable:
    return Unwritable(
        f"no room is left in {directory}",
        evidence,
        hint=f"df -h {quote(str(directory))}; make room there, or let {variable} name a directory on another disk",
    )


def noexec(directory: Path) -> bool:
    """Return whether the directory's file system is mounted with noexec."""
    return bool(_statvfs(directory).f_flag & os.ST_NOEXEC)


def _statvfs(directory: Path) -> os.statvfs_result:
    """The status of the file system that a directory is, or would be, on."""
    while not directory.exists():
        directory = directory.parent
    return os.statvfs(directory)


def _full(directory: Path) -> bool:
    """Whether its file system is short of bytes or inodes; one that does not count inodes reports 0 of 0."""
    found = _statvfs(directory)
    return found.f_bavail * found.f_frsize < ROOM or (found.f_files > 0 and found.f_favail == 0)
