"""The directories of run records: one for each run, named by the time at which it began; old ones are removed.

They are in a directory that belongs to the user and is closed to others. Only records are removed from it: directories
with such a name that contain only files with the names that a run writes.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from fabfile import paths

KEEP = 200
"""Number of records that are kept."""

DAYS = 90
"""Number of days for which records are kept."""

NAME = re.compile(r"\d{8}-\d{6}-\d{3}")
"""The name of a record: date, time and milliseconds, in UTC."""

HEAD, EVENTS, DOCUMENT, LOG, LOGS = "run.json", "events.jsonl", "report.json", "log", "logs"
"""The files of a record; LOGS is a directory with a file for each host."""

HALF = f"{HEAD}.new"
"""The head while it is being written."""

FILES = (HEAD, HALF, EVENTS, DOCUMENT, LOG)

LONGEST = 200
"""Limit for the characters of a host's name in the name of its log, as a file name has at most 255 bytes."""


def root() -> Path:
    """Return the directory of all records."""
    return paths.state() / "runs"


def create() -> Path:
    """Create a directory for the record of a run that begins now, and return its path.

    Raises:
        OSError: it cannot be created, or another user could write to it.
    """
    there = root()
    for directory in reversed((there, *there.parents)):
        if not directory.exists():
            directory.mkdir(0o700, exist_ok=True)
    above, found = there.parent.stat(), there.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise NotADirectoryError(f"{there} is not a directory of yours")
    if above.st_uid != found.st_uid or above.st_mode & 0o022:
        raise PermissionError(f"others may write to {there.parent}")
    if found.st_mode & 0o077:
        there.chmod(0o700)
    while True:
        record = there / name_of(time.time())
        try:
            record.mkdir(0o700)
        except FileExistsError:  # two runs began within a millisecond
            time.sleep(0.001)
        else:
            (record / LOGS).mkdir(0o700)
            return record


def name_of(moment: float) -> str:
    """Return the name of a run that began at `moment`, in seconds since the epoch."""
    whole, thousandths = divmod(int(moment * 1000), 1000)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(whole))}-{thousandths:03}"


def names() -> list[str]:
    """Return the names of all records, the oldest first.

    Raises:
        OSError: the directory of records cannot be read.
    """
    try:
        return sorted(path.name for path in root().iterdir() if NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def log_of(host: str) -> str:
    """Return the path of a host's log within a record; for an empty name, that of the run's own log."""
    if not host:
        return LOG
    name = quote(host, safe="@:[]+,=~")
    if len(name) > LONGEST:
        import hashlib

        name = f"{name[:LONGEST]}-{hashlib.sha256(host.encode()).hexdigest()[:16]}"
    return f"{LOGS}/{name}.log"


def create_file(path: Path) -> TextIO:
    """Create a file that only its owner may read, and open it for writing, buffered by lines.

    Raises:
        OSError: it exists, or cannot be created.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", buffering=1)


def running(record: Path) -> bool:
    """Return whether a run is still going on: its process holds a lock on the events until it ends, even if killed."""
    try:
        with (record / EVENTS).open() as events:
            return not _locked(events.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def hold(events: TextIO) -> None:
    """Lock the events of a run, so that it counts as running until the file is closed."""
    fcntl.flock(events.fileno(), fcntl.LOCK_EX)


def prune(now: float) -> None:
    """Remove records beyond `KEEP` or older than `DAYS`, except those of running runs and those with other files.

    Args:
        now: the present time, in seconds since the epoch.

    Raises:
        OSError: a record cannot be removed.
    """
    with _alone() as alone:
        found = names() if alone else []
        oldest = name_of(now - DAYS * 86400)
        for name in [name for name in found if name < oldest or name not in found[-KEEP:]]:
            record = root() / name
            if is_only_ours(record) and not running(record):
                _remove(record)


def is_only_ours(record: Path) -> bool:
    """Return whether a directory contains only files that a run writes."""
    kinds = dict.fromkeys(FILES, stat.S_IFREG) | {LOGS: stat.S_IFDIR}
    if _kind(record) != stat.S_IFDIR or any(_kind(each) != kinds.get(each.name) for each in record.iterdir()):
        return False
    return all(_kind(each) == stat.S_IFREG and each.suffix == ".log" for each in _logs(record))


def _kind(path: Path) -> int:
    return stat.S_IFMT(path.lstat().st_mode)


def _logs(record: Path) -> list[Path]:
    return list((record / LOGS).iterdir()) if (record / LOGS).exists() else []


def _remove(record: Path) -> None:
    for file in [*_logs(record), *(record / name for name in FILES)]:
        file.unlink(missing_ok=True)
    if (record / LOGS).exists():
        (record / LOGS).rmdir()
    record.rmdir()


@contextmanager
def _alone() -> Iterator[bool]:
    """Lock the removal of records within this context; yield whether that succeeded: another run may hold the lock."""
    directory = os.open(root(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _locked(directory, fcntl.LOCK_EX)
    finally:
        os.close(directory)


def _locked(file: int, how: int) -> bool:
    """Lock a file without waiting, and return whether that succeeded.

    Args:
        file: its descriptor.
        how: `LOCK_SH` or `LOCK_EX`.
    """
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
