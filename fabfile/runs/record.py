"""The record of a run, written while it goes on: a run that is killed leaves one that says so.

Nothing that goes wrong with a record ends a run: it is said once, and nothing more is written then.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from fabfile import console, events, outcome
from fabfile.console import masked, say
from fabfile.errors import bounded
from fabfile.outcome import FleetReport, Report
from fabfile.runs import place

MOST = 4 << 20
"""Characters of a log."""

LEFT_OUT = frozenset({"content", "before", "functions"})
"""Fields of the document that are empty in a record: content of files, in which there may be passwords, and shell
functions that are the same in every plan."""


class Head(msgspec.Struct):
    """What a record says first."""

    command: list[str]
    """As it was typed; of a password in an address there is only `***`."""
    begin: float
    end: float | None = None
    exit_code: int | None = None
    hosts: dict[str, int] = {}
    """At the end: status → number of hosts."""
    schema: int = outcome.SCHEMA


class Record:
    """The record of the run that goes on.

    Args:
        directory: a new one; None: nothing is kept.
        head: of the record.
    """

    def __init__(self, directory: Path | None, head: Head) -> None:
        self.directory, self.head = directory, head
        self.kept = directory is not None
        self.written: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """What it is called; empty: there is none."""
        return self.directory.name if self.directory else ""

    def begin(self, stack: ExitStack) -> None:
        """Write the head, and from now on everything that happens or is said, until the stack is left."""
        with self._warning():
            stream = place.create_file(self._file(place.EVENTS))
            place.hold(stream)
            self._write_head()
            stack.enter_context(events.into(stream, f"the record of this run, {stream.name},"))
            stack.enter_context(console.heard_by(self.hear))

    def hear(self, host: str, lines: Sequence[str]) -> None:
        """Add what was printed to the log of a host, or of the run; of too much, the rest is left out."""
        room = MOST - self.written[host]
        if not self.kept or room < 0:
            return
        now = time.strftime("%H:%M:%S")
        text = "".join(f"{now}  {line}".rstrip() + "\n" for line in lines)
        self.written[host] += len(text)
        if len(text) > room:
            text = f"{text[:room]}\n{now}  … the rest is left out\n"
        with self._warning():
            opened = os.open(self._file(place.log_of(host)), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(opened, "w", encoding="utf-8") as log:
                log.write(text)

    def end(self, report: Report | FleetReport) -> None:
        """Write what became of the run."""
        if not self.kept:
            return
        each = report.hosts.values() if isinstance(report, FleetReport) else [report]
        self.head.hosts = dict(Counter(host.status for host in each))
        self.head.end, self.head.exit_code = time.time(), report.exit_code
        with self._warning():
            with place.create_file(self._file(place.DOCUMENT)) as file:
                file.write(masked(json.dumps(shortened(outcome.as_builtins(report)))))
            self._write_head()

    def _write_head(self) -> None:
        """Never a half one: what reads it may come at any time."""
        with place.create_file(self._file(place.HALF)) as file:
            json.dump(msgspec.to_builtins(self.head), file)
        self._file(place.HALF).rename(self._file(place.HEAD))

    def _file(self, name: str) -> Path:
        assert self.directory
        return self.directory / name

    @contextmanager
    def _warning(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.kept = False
            say(f"warning: the record of this run is no longer written: {error}", error=True)


@contextmanager
def recorded(door: str, calls: Sequence[Any]) -> Iterator[Record]:
    """Within it a run goes on, and what happens and is said is kept, if one of its tasks is one to keep.

    Args:
        door: `fab` or `inv`.
        calls: the tasks, as Invoke calls them.
    """
    wanted = any(call.task.recorded_by(door) for call in calls)
    head = Head([masked(word) for word in (door, *sys.argv[1:])], time.time())
    record = Record(_directory() if wanted else None, head)
    with ExitStack() as stack:
        if record.kept:
            record.begin(stack)
        yield record


def _directory() -> Path | None:
    """A new one, once there are not too many old ones; None where that cannot be."""
    try:
        new = place.create()
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody knows the user's home
        say(f"warning: there will be no record of this run: {error}", error=True)
        return None
    try:
        place.prune(time.time())
    except OSError as error:
        say(f"warning: old records of runs cannot be removed: {error}", error=True)
    return new


def shortened(value: Any, key: str = "") -> Any:
    """The document, or a part of it, as it is kept: without content of files, and with texts of bounded length."""
    if key in LEFT_OUT and isinstance(value, str):
        return ""
    if isinstance(value, dict):
        return {key: shortened(inner, key) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [shortened(inner) for inner in value]
    return bounded(value) if isinstance(value, str) else value
