"""Run records as text: all runs in a table, or one run with its steps, hosts and errors."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fabfile import console
from fabfile.output import report_rows, summary
from fabfile.output.answer import show
from fabfile.output.outcome import Trouble, result
from fabfile.runs import history, storage
from fabfile.runs.history import Run

RIGHT = (2, 3)
"""Columns of the table of runs that are aligned on the right."""

ROOM = 40
"""Columns of the terminal that a command needs at least, with the space before it."""


def list_runs() -> None:
    """Print a table of all runs that have a record, the newest last.

    Raises:
        Failed: the directory of records cannot be read.
    """
    found = history.runs()
    result(found)
    if not found:
        show(f"no run has left a record in {storage.root()}")
        return
    rows = [["run", "began", "took", "exit", "hosts"]]
    rows += [[run.run, moment(run.begin), took(run), ended(run), counted(run)] for run in found]
    show("\n".join(summary.fitted(_with_commands(rows, ["command", *(run.command for run in found)]))))


def _with_commands(rows: list[list[str]], commands: list[str]) -> list[str]:
    """Return rows as lines, each with its command: in a last column, or on a narrow terminal on a line of its own."""
    lines, width = summary.aligned(rows, right=RIGHT), console.columns()
    if width and max(map(len, lines)) + ROOM > width:
        return [line for pair in zip(lines, (f"  {each}" for each in commands), strict=True) for line in pair]
    return summary.aligned([[*row, each] for row, each in zip(rows, commands, strict=True)], right=RIGHT)


def show_run(name: str) -> None:
    """Print a run: its command line, its time, and the outcome of each step and host.

    Args:
        name: name of its record; empty: the newest one.

    Raises:
        Refused: there is no such record.
        Failed: the record is damaged, or cannot be read.
    """
    found = history.read(history.find(name))
    result(found)
    run = found.run
    lines = [
        f"run      {run.run}",
        f"command  {run.command}",
        f"began    {moment(run.begin)}",
        f"state    {run.state}{f' after {took(run)}, exit code {run.exit_code}' if run.end else ''}",
        f"logs     {found.directory}",
        "",
        *summary.fitted([*summary.of_steps(found.hosts), "", *summary.of_hosts(found.hosts)]),
        *(line for error, hosts in report_rows.troubles(found.hosts) for line in told(error, hosts)),
    ]
    show("\n".join(lines))


def told(error: Trouble, hosts: Sequence[str]) -> list[str]:
    """Return the lines of an error: the hosts that had it, and its three parts."""
    details = [f"  {line}" for line in error.details.splitlines()]
    return ["", f"{', '.join(hosts)}: {error.what}", *details, *([f"hint: {error.hint}"] if error.hint else [])]


def moment(seconds: float) -> str:
    """Return a time as text, in the controller's time zone.

    Args:
        seconds: the time in seconds since the epoch.
    """
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def took(run: Run) -> str:
    """Return how long a run took; empty if it has not ended."""
    return f"{run.end - run.begin:.1f} s" if run.end else ""


def ended(run: Run) -> str:
    """Return the exit code of a run, or its state if it has none."""
    return str(run.exit_code) if run.state == "ended" else run.state


def counted(run: Run) -> str:
    """Return the number of hosts by status, as one text."""
    return "  ".join(f"{status} {number}" for status, number in run.hosts.items())
