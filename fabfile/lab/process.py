"""Processes that one command starts and another ends, known by id, start time and boot, never by name.

A process id alone may have been reused by then; together with the start time it is unique.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from fabfile.errors import Failed
from fabfile.lab import files

LIMIT = 30.0
"""Seconds for a process to end after SIGKILL; only one that waits for a broken disk takes more than a few."""


class Process(msgspec.Struct, frozen=True):
    """A process of the current boot of the controller."""

    pid: int
    started: int
    """Clock ticks since boot, field 22 of /proc/PID/stat; see proc(5)."""
    boot: str
    """The kernel's random id of this boot."""


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot.

    Raises:
        OSError: there is no such process.
    """
    stat = Path(f"/proc/{pid}/stat").read_text()
    # The second field is the name of the program, which may contain blanks and parentheses.
    return int(stat.rpartition(")")[2].split()[19])


WAIT = ("sh", "-c", 'read -r go && exec "$@"', "sh")
"""Prefix of a command that delays it until it was recorded; if we are killed before, it never starts."""


def spawn(file: Path, command: Sequence[str | Path], log: Path, descriptors: Sequence[int] = ()) -> None:
    """Start a command in the background, in a session of its own and without input, and record it.

    Args:
        file: the record; its directory is the command's working directory.
        command: program and arguments.
        log: file to which its output is appended.
        descriptors: file descriptors that it inherits.

    Raises:
        OSError: it could not be started or recorded, and does not run.
    """
    with log.open("ab") as out:
        begun = subprocess.Popen(
            [*WAIT, *map(str, command)], stdin=subprocess.PIPE, stdout=out, stderr=out, cwd=file.parent,
            pass_fds=descriptors, start_new_session=True,
        )  # fmt: skip
    assert begun.stdin is not None
    try:
        record(file, begun.pid)
        begun.stdin.write(b"go\n")
        begun.stdin.flush()
    except BaseException:
        begun.stdin.close()
        begun.wait()
        raise
    begun.stdin.close()


def record(file: Path, pid: int) -> None:
    """Record a process that was just started, atomically.

    Raises:
        OSError: the record could not be written, or the process has ended already.
    """
    files.write(file, msgspec.json.encode(Process(pid, start_time(pid), boot_id())))


def read(file: Path) -> int | None:
    """Return the id of the recorded process if exactly that process still runs, otherwise None."""
    try:
        known = msgspec.json.decode(file.read_bytes(), type=Process)
        alive = known.boot == boot_id() and known.started == start_time(known.pid) and not _zombie(known.pid)
    except (OSError, msgspec.DecodeError):
        return None
    return known.pid if alive else None


def end(file: Path, sign: signal.Signals = signal.SIGKILL, limit: float = LIMIT) -> None:
    """End the recorded process, if it still runs, and wait for that.

    Args:
        file: its record.
        sign: the signal; after half of `limit`, SIGKILL is sent.
        limit: seconds to wait.

    Raises:
        Failed: it still runs after `limit`.
    """
    pid = read(file)
    if pid is None:
        return
    with ExitStack() as stack:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        stack.callback(os.close, descriptor)
        if read(file) != pid:  # it ended just before the descriptor was opened, and its id was reused
            return
        for each in (sign, signal.SIGKILL):
            signal.pidfd_send_signal(descriptor, each)
            if select.select([descriptor], [], [], limit / 2)[0]:
                _reap(pid)
                return
    raise Failed(f"process {pid} does not end", f"SIGKILL was sent; it is recorded in {file}", hint=f"ps -l -p {pid}")


def _zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # an earlier command started it, so it is not our child
