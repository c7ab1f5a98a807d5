"""The record of a run, written during the run, so that a run that is killed leaves one as well.

An error in writing the record does not end the run: a warning is printed, and nothing more is written.
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
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fabfile import console, events
from fabfile.console import masked_in, masked_word, say
from fabfile.errors import bounded
from fabfile.output import json_document, outcome
from fabfile.output.outcome import FleetReport, Report
from fabfile.runs import storage

MOST = 4 << 20
"""Limit for the characters of a log."""

LEFT_OUT = frozenset({"content", "before", "functions"})
"""Fields of the document that are empty in a record: the content of files, which may have passwords, and shell
functions, which are the same in every plan."""


Moment = Annotated[float, Meta(ge=0, lt=253_402_300_800)]
"""A time in seconds since the epoch, before the year 10000."""


class Head(msgspec.Struct):
    """The head of a record: what is known when the run begins, and its outcome once it has ended."""

    command: Annotated[list[str], Meta(min_length=1)]
    """Command line as it was typed; credentials in addresses are masked."""
    begin: Moment
    end: Moment | None = None
    exit_code: int | None = None
    hosts: dict[str, int] = {}
    """At the end: status → number of hosts."""
    schema: int = outcome.SCHEMA


class Record:
    """The record of the current run.

    Args:
        directory: an empty directory for it; None: nothing is written.
        head: head of the record.
    """

    def __init__(self, directory: Path | None, head: Head) -> None:
        self.directory, self.head = directory, head
        self.kept = directory is not None
        self.written: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """Name of the record; empty: there is none, or it could not be written completely."""
        return self.directory.name if self.directory and self.kept else ""

    def begin(self, stack: ExitStack) -> None:
        """Write the head, and write all events and output until the stack is closed."""
        with self._warning():
            stream = storage.create_file(self._file(storage.EVENTS))
            storage.hold(stream)
            self._write_head()
            stack.enter_context(events.into(stream, f"the record of this run, {self._file(storage.EVENTS)},"))
            stack.enter_context(console.heard_by(self.hear))

    def hear(self, host: str, lines: Sequence[str]) -> None:
        """Append lines to the log of a host, or of the run; what exceeds `MOST` is left out.

        Args:
            host: name of the host; empty: the run.
            lines: the lines that were printed.
        """
        room = MOST - self.written[host]
        if not self.kept or room < 0:
            return
        now = time.strftime("%H:%M:%S")
        text = "".join(f"{now}  {line}".rstrip() + "\n" for line in lines)
        self.written[host] += len(text)
        if len(text) > room:
            text = f"{text[:room]}\n{now}  … the rest is left out\n"
        with self._warning():
            opened = os.open(self._file(storage.log_of(host)), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(opened, "w", encoding="utf-8") as log:
                log.write(text)

    def end(self, report: Report | FleetReport) -> None:
        """Write the outcome of the run: its document, and the head with the numbers of hosts."""
        if not self.kept:
            return
        each = report.hosts.values() if isinstance(report, FleetReport) else [report]
        self.head.hosts = dict(Counter(host.status for host in each))
        self.head.end, self.head.exit_code = time.time(), report.exit_code
        with self._warning():
            with storage.create_file(self._file(storage.DOCUMENT)) as file:
                file.write(json.dumps(masked_in(shortened(json_document.as_builtins(report)))))
            self._write_head()

    def _write_head(self) -> None:
        """Write the head atomically, as another program may read it at any time."""
        with storage.create_file(self._file(storage.HALF)) as file:
            json.dump(msgspec.to_builtins(self.head), file)
        self._file(storage.HALF).rename(self._file(storage.HEAD))

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
def recorded(program: str, calls: Sequence[Any]) -> Iterator[Record]:
    """Record the run within this context, if at least one of its tasks is to be recorded.

    Args:
        program: `fab` or `inv`.
        calls: Invoke's calls of the tasks.
    """
    wanted = any(call.task.recorded_by(program) for call in calls)
    head = Head([masked_word(word) for word in (program, *sys.argv[1:])], time.time())
    record = Record(_directory() if wanted else None, head)
    with ExitStack() as stack:
        if record.kept:
            record.begin(stack)
        yield record


def _directory() -> Path | None:
    """Create the directory of a record and remove old records; return None if it cannot be created."""
    try:
        new = storage.create()
    except (OSError, RuntimeError) as error:  # RuntimeError: the user's home is unknown
        say(f"warning: there will be no record of this run: {error}", error=True)
        return None
    try:
        storage.prune(time.time())
    except OSError as error:
        say(f"warning: old records of runs cannot be removed: {error}", error=True)
    return new


def shortened(value: Any, key: str = "") -> Any:
    """Shorten the document, or a part of it, for the record: omit the content of files, and bound the length of texts.

    Args:
        value: the document or the part.
        key: name of the field that has it; empty: none.
    """
    if key in LEFT_OUT and isinstance(value, str):
        return ""
    if isinstance(value, dict):
        return {key: shortened(inner, key) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [shortened(inner) for inner in value]
    return bounded(value) if isinstance(value, str) else value
