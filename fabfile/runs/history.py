"""Records of earlier runs, read back; also of a run that is still going on, or that was killed."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterable
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Literal, TypeVar, get_args

import msgspec

from fabfile.console import say, shown
from fabfile.errors import Failed, Refused
from fabfile.events import Event
from fabfile.output.outcome import (
    HERE,
    WELL,
    FleetReport,
    HostReport,
    Outcome,
    Report,
    Status,
    StepStatus,
    TaskReport,
    Trouble,
    Unfinished,
)
from fabfile.runs import storage
from fabfile.runs.record import Head

LAST = "last"
"""Alias for the newest record."""

MOST = 256 << 20
"""Limit in bytes for the size of a file in a record."""

HOW = "each run is listed by: inv runs.list"

State = Literal["ended", "running", "killed"]
Kind = TypeVar("Kind")


class Run(msgspec.Struct, frozen=True):
    """A run, as its record describes it."""

    run: str
    state: State
    command: str
    begin: float
    end: float | None
    exit_code: int | None
    hosts: dict[str, int]


class Recorded(msgspec.Struct, frozen=True):
    """A run, and the reports of its hosts."""

    run: Run
    hosts: dict[str, HostReport]
    directory: str


def runs() -> list[Run]:
    """Return all runs that have a record, the oldest first. For a damaged record, only an error is printed.

    Raises:
        Failed: the directory of records cannot be read.
    """
    found = []
    for name in _names():
        try:
            found.append(_run(name))
        except Failed as damaged:
            say(str(damaged), error=True)
    return found


def find(name: str) -> str:
    """Return the name of a record.

    Args:
        name: the name as it was typed; `last` or empty: the newest record.

    Raises:
        Refused: there is no record of that name.
        Failed: the directory of records cannot be read.
    """
    known = _names()
    if name in known:
        return name
    if not known:
        raise Refused("no run has left a record", f"they would be in {storage.root()}", hint="fab -H HOSTS TASK")
    if name in ("", LAST):
        return known[-1]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}? {HOW}" if near else HOW
    raise Refused(f"no run {shown(name)}", f"{len(known)} runs from {known[0]} to {known[-1]}", hint=hint)


def read(name: str) -> Recorded:
    """Read the record of a run.

    Args:
        name: name of the record.

    Raises:
        Failed: the record is damaged, or cannot be read.
    """
    run, directory = _run(name), storage.root() / name
    if run.state != "ended":
        told = _events(directory / storage.EVENTS)
        try:
            return Recorded(run, from_events(told, run.state), str(directory))
        except (LookupError, ValueError) as error:
            raise Failed(f"the record {directory} is damaged", f"{type(error).__name__}: {error}") from error
    if run.command.split()[0] == "fab":
        hosts = _read(directory / storage.DOCUMENT, FleetReport).hosts
    else:
        hosts = {HERE: _read(directory / storage.DOCUMENT, Report)}
    return Recorded(run, hosts, str(directory))


def last_on_hosts() -> str:
    """Return the name of the newest record of a run of fab: inv runs between it and a retry, as its hints say.

    Raises:
        Refused: there is none.
        Failed: the directory of records cannot be read.
    """
    for name in reversed(_names()):
        with suppress(Failed):
            if _read(storage.root() / name / storage.HEAD, Head).command[0] == "fab":
                return name
    raise Refused("no run of fab has left a record", f"they would be in {storage.root()}", hint="fab -H HOSTS TASK")


def unfinished(name: str) -> list[str]:
    """Return the names of the hosts that did not succeed in a run, for --retry-from.

    Args:
        name: name of the run's record.

    Raises:
        Refused: the run is still in progress, it is a run of inv, it reached no host, or all hosts succeeded.
        Failed: its record is damaged, or cannot be read.
    """
    found = read(name)
    if found.run.state == "running":
        raise Refused(f"the run {name} is still in progress", found.run.command, hint="wait until it ends")
    if HERE in found.hosts:
        raise Refused(f"the run {name} has no hosts", found.run.command, hint=f"a run of fab is needed: {HOW}")
    if not found.hosts:
        raise Refused(f"the run {name} ended before it began on any host", hint=found.run.command)
    left = [host for host, report in found.hosts.items() if report.status not in WELL]
    if not left:
        ended = "  ".join(f"{status} {count}" for status, count in found.run.hosts.items())
        raise Refused(f"nothing to retry: all hosts of the run {name} succeeded", ended)
    return left


def from_events(told: Iterable[Event], state: State) -> dict[str, HostReport]:
    """Reconstruct the reports of hosts from events, for a run that has not written its document.

    Args:
        told: the events, in their order.
        state: state of the run.

    Returns:
        Name of a host → its report.
    """
    why = "the run is still in progress" if state == "running" else "the run was killed"
    hosts: dict[str, HostReport] = {}
    for event in told:
        if event.event == "run-begin":
            hosts = {name: HostReport("interrupted", error=Trouble(why)) for name in event.hosts or [HERE]}
        elif event.event != "run-end":
            _take(hosts[event.host or HERE], event, why)
    return hosts


def _take(host: HostReport, event: Event, why: str) -> None:
    """Update the report of a host by an event.

    Args:
        host: the report.
        event: the event.
        why: why the run has no document, for the error of what has not ended.
    """
    error = Trouble(event.error) if event.error else None
    if event.event == "host-end":
        host.status, host.seconds, host.error = _status(event), event.seconds or 0, error
    elif event.event == "task-begin":
        host.tasks.append(TaskReport(event.task, "interrupted"))
        host.error = Trouble(f"{event.task}: {why}")
    elif event.event == "task-end":
        task = host.tasks[-1]
        task.status, task.seconds, task.error = _status(event), event.seconds or 0, error
    elif event.event == "step-begin":
        host.tasks[-1].unfinished = Unfinished(event.step, 0)
        host.error = Trouble(f"{event.step}: {why}")
    elif event.event == "step-end":
        _end_step(host.tasks[-1], event)


def _end_step(task: TaskReport, event: Event) -> None:
    seconds = event.seconds or 0
    if event.status in get_args(StepStatus):
        status = msgspec.convert(event.status, StepStatus)
        task.steps.append(Outcome(event.step, status, event.reason, seconds))
        task.unfinished = None
    else:
        task.unfinished = Unfinished(event.step, seconds)


def _status(event: Event) -> Status:
    status: Status = msgspec.convert(event.status, Status)
    return status


def _names() -> list[str]:
    """Return the names of all records; the directory of a run that has just begun has no head yet, and is left out."""
    try:
        return [name for name in storage.names() if (storage.root() / name / storage.HEAD).exists()]
    except (OSError, RuntimeError) as error:
        raise Failed("the records of runs cannot be read", str(error)) from error


def _run(name: str) -> Run:
    directory = storage.root() / name
    head = _read(directory / storage.HEAD, Head)
    state: State = "ended" if head.end else "running" if storage.running(directory) else "killed"
    return Run(name, state, shlex.join(head.command), head.begin, head.end, head.exit_code, head.hosts)


def _events(file: Path) -> list[Event]:
    """Read the events of a run; text after the last line feed is ignored, as it was cut off when the run was killed."""
    lines = _text(file).rpartition(b"\n")[0].splitlines()
    return [_decoded(file, line, Event) for line in lines]


def _read(file: Path, kind: type[Kind]) -> Kind:
    return _decoded(file, _text(file), kind)


def _text(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            text = stream.read(MOST + 1)
    except OSError as error:
        raise Failed(f"the record {file} cannot be read", str(error)) from error
    if len(text) > MOST:
        raise Failed(f"the record {file} cannot be read", f"it has more than {MOST} bytes")
    return text


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text:.50} is not a finite number")
    return number


def _decoded(file: Path, text: bytes, kind: type[Kind]) -> Kind:
    try:  # json accepts the escapes of bytes that were not UTF-8, msgspec does not
        return msgspec.convert(json.loads(text, parse_float=_finite, parse_constant=_finite), kind)
    except (ValueError, RecursionError) as error:  # errors of msgspec are ValueErrors
        raise Failed(f"the record {file} is damaged", str(error)) from error
