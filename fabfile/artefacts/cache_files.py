"""Files kept in the cache: synced before they count, and verified by digest before each use."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fabfile.errors import Failed, Refused
from fabfile.sizes import human

NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}")
"""A file name that a mirror or a table may state: one component, not hidden, not special to a shell."""

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM = ("No space left on device", "Disk quota exceeded")
"""Messages of programs about a full disk; they run with LC_ALL=C."""

LEAST = 8 << 20
"""After a failure, a disk with fewer free bytes is considered the cause."""

FULL_DISK = "the disk is full"


def inside(directory: Path, name: str) -> Path:
    """Return the path of `name` directly in `directory`.

    Raises:
        Refused: the name is not a plain file name.
    """
    if not NAME.fullmatch(name):
        raise Refused(f"not a usable file name: {name!r:.200}", "letters, digits, dot, hyphen, underscore, plus, tilde")
    return directory / name


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    import hashlib

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def settle(part: Path, wanted: Path) -> None:
    """Rename a finished file so that even after a power cut it is there completely, or not at all."""
    _sync(part)
    part.rename(wanted)
    _sync(wanted.parent)


def record(path: Path) -> None:
    """Record the digest of a file made by this tool, for `intact`."""
    _sync(path)
    part, wanted = path.with_name(f".{path.name}.sha256.part"), _record_of(path)
    part.write_text(f"{sha256(path)}\n")
    settle(part, wanted)


def intact(path: Path) -> bool:
    """Return whether a file exists and has the recorded digest."""
    try:
        return path.is_file() and _record_of(path).read_text() == f"{sha256(path)}\n"
    except (FileNotFoundError, UnicodeDecodeError):
        return False


@contextmanager
def room(directory: Path) -> Iterator[None]:
    """Report a full disk as such within this context, with the directory and how to use another one.

    Raises:
        Failed: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _full(directory, str(error)) from error
    except Failed as error:
        # A more specific error, or one from within, has reported it already.
        if type(error) is not Failed or error.what.startswith(FULL_DISK) or not _no_room(directory, error.details):
            raise
        raise _full(directory, str(error)) from error


def _no_room(directory: Path, output: str) -> bool:
    import shutil

    return any(text in output for text in NO_ROOM) or shutil.disk_usage(directory).free < LEAST


def _full(directory: Path, details: str) -> Failed:
    import shutil

    return Failed(
        f"{FULL_DISK}: {directory}",
        f"{human(shutil.disk_usage(directory).free)} free there\n{details}",
        hint="make room there, or name another directory for the cache: export XDG_CACHE_HOME=/another/directory",
    )


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
