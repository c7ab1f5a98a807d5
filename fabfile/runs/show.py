"""Records of runs, shown: all of them as a table, and one of them with its steps, hosts and errors."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fabfile import cases, summary
from fabfile.answer import show
from fabfile.outcome import Trouble, result
from fabfile.runs import history, place
from fabfile.runs.history import Run


def list_runs() -> None:
    """Show all runs that there is a record of, the newest last.

    Raises:
        Failed: they cannot be read.
    """
    found = history.runs()
    result(found)
    if not found:
        show(f"no run has left a record in {place.root()}")
        return
    rows = [["run", "began", "took", "exit", "hosts", "command"]]
    rows += [[run.run, moment(run.begin), took(run), ended(run), counted(run), run.command] for run in found]
    show("\n".join(summary.fitted(summary.aligned(rows, right=(2, 3)))))


def show_run(name: str) -> None:
    """Show a run: what was typed, when, and what became of each step and host.

    Args:
        name: of its record; empty: the newest.

    Raises:
        Refused: there is no such record.
        Failed: it is damaged.
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
        *(line for error, hosts in cases.troubles(found.hosts) for line in told(error, hosts)),
    ]
    show("\n".join(lines))


def told(error: Trouble, hosts: Sequence[str]) -> list[str]:
    """An error in its three parts, behind the hosts that met it."""
    details = [f"  {line}" for line in error.details.splitlines()]
    return ["", f"{', '.join(hosts)}: {error.what}", *details, *([f"hint: {error.hint}"] if error.hint else [])]


def moment(seconds: float) -> str:
    """A moment, in this machine's own time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def took(run: Run) -> str:
    """How long a run took; empty: it did not end."""
    return f"{run.end - run.begin:.1f} s" if run.end else ""


def ended(run: Run) -> str:
    """How a run ended, in a word."""
    return str(run.exit_code) if run.state == "ended" else run.state


def counted(run: Run) -> str:
    """How many hosts have which status."""
    return "  ".join(f"{status} {number}" for status, number in run.hosts.items())
