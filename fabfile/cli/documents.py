"""What both executors write when a run ends: the JSON document, the file of --junit, and the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from invoke.exceptions import Exit

from fabfile import console
from fabfile.cli import core_options
from fabfile.errors import Failed
from fabfile.output import json_document, outcome
from fabfile.output.outcome import HERE, FleetReport, Report


def prepare(calls: Sequence[Any]) -> bool:
    """Return whether a task has --json; if so, keep standard output for the document from now on.

    Args:
        calls: Invoke's calls of the tasks.
    """
    as_json = any(call.kwargs.get("json") for call in calls)
    if as_json:
        console.keep_for_document()
    return as_json


def finish(core: Any, calls: Sequence[Any], whole: Report | FleetReport, begin: float, *, as_json: bool) -> None:
    """Write the documents that were requested, and end with the exit code of the run.

    Args:
        core: the parsed options in front of the first task.
        calls: Invoke's calls of the tasks.
        whole: the outcome of the run.
        begin: time at which it began, in seconds since 1970.
        as_json: see `prepare`.

    Raises:
        Failed: the JSON document, the answer of the tasks or the file of --junit cannot be written.
        Exit: with the exit code of the run, unless it is 0; see `outcome.exit_code`.
    """
    if as_json:
        json_document.publish(whole)
    if file := core_options.typed(core, "junit"):
        from fabfile.output import junit  # few runs need it

        junit.write(file, calls, whole.hosts if isinstance(whole, FleetReport) else {HERE: whole}, begin)
    if not as_json and not _is_log(calls, whole) and (error := console.lost()):
        lost = Failed("the output cannot be written", str(error))  # so its reader must not use it
        if not whole.exit_code:
            raise lost
        console.say(str(lost), error=True)
    if whole.exit_code:
        raise Exit(code=whole.exit_code)


def _is_log(calls: Sequence[Any], whole: Report | FleetReport) -> bool:
    """Return whether standard output is only a log: that of tasks that take steps, but not a plan of theirs."""
    plan = whole.exit_code == outcome.exit_code(["pending"])
    return not plan and any(getattr(call.task, "takes_steps", False) for call in calls)
