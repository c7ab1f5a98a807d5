"""The summary at the end of a run: a line for each step, one for each host, and the number of hosts by status."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import get_args

from fabfile import console
from fabfile.console import printable, say
from fabfile.output import report_rows
from fabfile.output.outcome import WELL, HostReport, Status, StepStatus
from fabfile.output.report_rows import Case

STATUSES: tuple[Status, ...] = get_args(Status)
ALWAYS = ("ok", "changed", "failed", "unreachable")
"""Statuses that are counted even if no host has them."""


def show(reports: Mapping[str, HostReport], again: str = "") -> None:
    """Print the summary of a run. With a single host that is only the last line: its steps have been printed already.

    Args:
        reports: name of a host → its report.
        again: command that retries the hosts that did not succeed; empty: there is none.
    """
    lines = []
    if len(reports) > 1:
        lines = fitted(["", *of_steps(reports), "", *of_hosts(reports)])
        if again and not all(report.status in WELL for report in reports.values()):
            lines.append(f"to retry the hosts that did not succeed: {again}")  # whole, as it is to be pasted
    say("\n".join([*lines, *fitted([count(reports)])]))


def of_hosts(reports: Mapping[str, HostReport]) -> list[str]:
    """Return a line for each host: its status, its time, its steps by status, and the first line of its error."""
    width = max(map(len, reports), default=0)
    lines = []
    for host, report in reports.items():
        steps = steps_of(report)
        # The line begins with the host already, and a terminal may have no room for its name and address again.
        error = re.sub(rf"^{re.escape(host)} \([^()]*\):? ", "", report.error.what) if report.error else ""
        what = [f"steps: {steps}" if steps else "", *error.splitlines()[:1]]
        text = "  ".join(filter(None, what))
        lines.append(f"{host:{width}}  {report.status:11} {report.seconds:6.1f} s  {text}".rstrip())
    return lines


def steps_of(report: HostReport) -> str:
    """Return the number of a host's steps by status, as one text; empty for a host without steps."""
    counts = Counter(step.status for task in report.tasks for step in task.steps)
    skipped = sum(len(task.skipped) for task in report.tasks)
    texts = [f"{counts[status]} {status}" for status in get_args(StepStatus) if counts[status]]
    return ", ".join([*texts, *([f"{skipped} {report_rows.SKIPPED}"] if skipped else [])])


def of_steps(reports: Mapping[str, HostReport]) -> list[str]:
    """Return the lines of a table of all steps that took time; no line if none did."""
    rows = step_rows(reports)
    return aligned([["step", "median", "longest", "on", ""], *rows], right=(1, 2)) if rows else []


def step_rows(reports: Mapping[str, HostReport]) -> list[list[str]]:
    """Return the cells of the table of steps, without its heading; see `of_steps`.

    A row has the name of a step, its median and longest time, the host that took longest, and the hosts by status.
    """
    from statistics import median  # slow to import, and seldom needed

    steps: dict[str, list[tuple[str, Case]]] = {}
    for host, report in reports.items():
        for case in report_rows.of_host(report):
            if case.task and case.status != report_rows.SKIPPED:
                steps.setdefault(case.name, []).append((host, case))
    rows = []
    for name, found in steps.items():
        on, slowest = max(found, key=lambda each: each[1].seconds)
        if not slowest.seconds:
            continue
        ended = Counter(case.status for _, case in found)
        usual = median(case.seconds for _, case in found)
        how = "  ".join(f"{status} {ended[status]}" for status in STATUSES if ended[status])
        rows.append([name, f"{usual:.1f} s", f"{slowest.seconds:.1f} s", on, how])
    return rows


def aligned(rows: list[list[str]], right: Collection[int] = ()) -> list[str]:
    """Return rows as lines with aligned columns.

    Args:
        rows: the cells of each row; all rows have the same number.
        right: numbers of the columns that are aligned on the right, from 0.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        lines.append("  ".join(cell.rjust(wide) if at in right else cell.ljust(wide) for at, (cell, wide) in cells))
    return [line.rstrip() for line in lines]


def count(reports: Mapping[str, HostReport]) -> str:
    """Return the number of hosts by status, as one text."""
    found = counted(reports)
    return "  ".join(f"{status} {found.get(status, 0)}" for status in STATUSES if status in found or status in ALWAYS)


def counted(reports: Mapping[str, HostReport]) -> dict[Status, int]:
    """Map each status that some host has to the number of such hosts."""
    found = Counter(report.status for report in reports.values())
    return {status: found[status] for status in STATUSES if found[status]}


def fitted(lines: list[str]) -> list[str]:
    """Shorten lines to the width of the terminal; without a terminal, return them as they are."""
    most = console.columns()
    if not most:
        return lines
    from rich.cells import cell_len, set_cell_size  # some characters take two columns

    shown = map(printable, lines)
    return [line if cell_len(line) <= most else f"{set_cell_size(line, most - 1)}…" for line in shown]
