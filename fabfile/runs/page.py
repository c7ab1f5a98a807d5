"""A run as one HTML file to pass on: it needs no other file, fetches nothing, and contains no scripts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fabfile import events
from fabfile.console import printable, say
from fabfile.errors import Failed, Pending
from fabfile.output import report_rows, summary
from fabfile.output.outcome import HostReport, Outcome, note, result
from fabfile.remote.context import Context
from fabfile.remote.target import is_dry
from fabfile.render import TEMPLATES
from fabfile.runs import chart, history, show
from fabfile.runs.history import Recorded

if TYPE_CHECKING:
    from jinja2 import Environment


class Page(msgspec.Struct, frozen=True):
    """A report that was written."""

    file: str
    run: str


class Change(msgspec.Struct):
    """A change, and all hosts on which it was made or is pending."""

    step: str
    why: str
    pending: bool
    hosts: list[str]


class Fill(msgspec.Struct, frozen=True):
    """How full a pool was, in percent."""

    host: str
    data: float
    meta: float


def write_report(c: Context, name: str, to: str) -> None:
    """Write the report of a run.

    Args:
        c: the controller, for --dry.
        name: name of the run; empty: the newest one.
        to: the file to write; empty: RUN.html in the current directory.

    Raises:
        Pending: with --dry, instead of writing the file.
        Refused: there is no such run, or the file cannot be one.
        Failed: its record is damaged, or the file cannot be written.
    """
    found = history.read(history.find(name))
    if to:
        events.check(to, "--to")
    file = Path(to or f"{found.run.run}.html").expanduser()
    text = page(found)
    result(Page(str(file), found.run.run))
    if is_dry(c):
        say(f"pending  runs.report\n    * write {file}")
        note(Outcome("runs.report", "pending", f"write {file}", 0))
        raise Pending
    try:
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise Failed(f"the report {file} cannot be written", str(error)) from error
    note(Outcome("runs.report", "changed", f"wrote {file}", 0))
    say(f"report: {file}")


def page(found: Recorded) -> str:
    """Return the HTML of a run."""
    hosts = found.hosts
    return (
        _environment()
        .get_template("runs/report.html.j2")
        .render(
            run=found.run,
            began=show.moment(found.run.begin),
            took=show.took(found.run),
            counts=summary.counted(hosts),
            chart=chart.chart(hosts),
            height=chart.BAR,
            hosts=[_row(name, report) for name, report in hosts.items()],
            steps=summary.step_rows(hosts),
            changes=changes(hosts),
            pools=pools(hosts),
            troubles=report_rows.troubles(hosts),
        )
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=True, trim_blocks=True,
        finalize=_shown,
    )  # fmt: skip


def _shown(value: Any) -> Any:
    """Escape the characters in a text that HTML does not allow, as a host may have printed them."""
    return printable(value) if type(value) is str else value


def _row(name: str, report: HostReport) -> dict[str, Any]:
    error = report.error.what.partition("\n")[0] if report.error else ""
    steps = summary.steps_of(report)
    return {"name": name, "status": report.status, "seconds": report.seconds, "steps": steps, "error": error}


def changes(hosts: Mapping[str, HostReport]) -> list[Change]:
    """Return all changes that were made or are pending, in the order of their steps; equal ones are combined."""
    found: dict[tuple[str, str, str], Change] = {}
    order: dict[str, int] = {}
    for host, report in hosts.items():
        for case in report_rows.of_host(report):
            order.setdefault(case.name, len(order))
            reasons = [str(change.get("why", "")) for change in case.changes] or [case.reason]
            for why in reasons if case.status in ("changed", "pending") else ():
                key = (case.name, why, case.status)
                found.setdefault(key, Change(case.name, why, case.status == "pending", [])).hosts.append(host)
    return sorted(found.values(), key=lambda change: order[change.step])


def pools(hosts: Mapping[str, HostReport]) -> list[Fill]:
    """Return how full the pools were, if a task of the run reported it: `status` and `pool.status` do."""
    found = []
    for host, report in hosts.items():
        for task in report.tasks:
            answer = task.result if isinstance(task.result, dict) else {}
            pool = {"status": answer.get("pool"), "pool.status": answer}.get(task.task)
            if isinstance(pool, dict) and isinstance(pool.get("status"), dict):
                found.append(_fill(host, pool["status"]))
    return found


def _fill(host: str, status: dict[str, Any]) -> Fill:
    data, meta = (100 * status[f"used_{part}"] / max(status[f"total_{part}"], 1) for part in ("data", "meta"))
    return Fill(host, data, meta)
