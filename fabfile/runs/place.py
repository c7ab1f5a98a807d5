"""Where records of runs are: a directory for each, named by the time at which its run began, and how old ones go.

The directory of all is the user's own, and closed to others. Only a record is removed from it: a directory with such a
name that holds nothing but what a run writes, by names.
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
"""Records that are kept."""

DAYS = 90
"""Days for which they are kept."""

NAME = re.compile(r"\d{8}-\d{6}-\d{3}")
"""Names of records: date, time and milliseconds, in UTC."""

HEAD, EVENTS, DOCUMENT, LOG, LOGS = "run.json", "events.jsonl", "report.json", "log", "logs"
"""What a record consists of; LOGS is a directory with a file for each host."""

HALF = f"{HEAD}.new"
"""The head while it is written."""

FILES = (HEAD, HALF, EVENTS, DOCUMENT, LOG)

LONGEST = 200
"""Characters of a host in the name of its log: a file name has at most 255."""


def root() -> Path:
    """The directory of all records."""
    return paths.state() / "runs"


def create() -> Path:
    """A new directory for the record of a run that begins now.

    Raises:
        OSError: it cannot be made, or another user could write to it.
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
    """The name of a run that began at `moment`, in seconds of the epoch."""
    whole, thousandths = divmod(int(moment * 1000), 1000)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(whole))}-{thousandths:03}"


def names() -> list[str]:
    """The names of all records, the oldest first.

    Raises:
        OSError: the directory of records cannot be read.
    """
    try:
        return sorted(path.name for path in root().iterdir() if NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def log_of(host: str) -> str:
    """The path of a host's log within a record; without a host, that of the run itself."""
    if not host:
        return LOG
    name = quote(host, safe="@:[]+,=~")
    if len(name) > LONGEST:
        import hashlib

        name = f"{name[:LONGEST]}-{hashlib.sha256(host.encode()).hexdigest()[:16]}"
    return f"{LOGS}/{name}.log"


def create_file(path: Path) -> TextIO:
    """A new file, which only its owner may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", buffering=1)


def running(record: Path) -> bool:
    """Whether the run goes on: it holds a lock on its events, which ends with the process, however that ends."""
    try:
        with (record / EVENTS).open() as events:
            return not _locked(events.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def hold(events: TextIO) -> None:
    """Have a run count as one that goes on, until this file is closed."""
    fcntl.flock(events.fileno(), fcntl.LOCK_EX)


def prune(now: float) -> None:
    """Remove the records that are too many or too old; one whose run goes on stays, and so does one that holds more.

    Args:
        now: seconds of the epoch.

    Raises:
        OSError: one cannot be removed.
    """
    with _alone() as alone:
        found = names() if alone else []
        oldest = name_of(now - DAYS * 86400)
        for name in [name for name in found if name < oldest or name not in found[-KEEP:]]:
            record = root() / name
            if is_only_ours(record) and not running(record):
                _remove(record)


def is_only_ours(record: Path) -> bool:
    """Whether a directory holds nothing but what a run writes."""
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
    """Within it, whether no other run removes records."""
    directory = os.open(root(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _locked(directory, fcntl.LOCK_EX)
    finally:
        os.close(directory)


def _locked(file: int, how: int) -> bool:
    """Lock a file, unless somebody else has; whether it worked."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
