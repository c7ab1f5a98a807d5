"""What a run ends with: a line for each host, one for each step, and one that counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import get_args

from fabfile import cases, console
from fabfile.cases import Case
from fabfile.console import printable, say
from fabfile.outcome import WELL, HostReport, Status, StepStatus

STATUSES: tuple[Status, ...] = get_args(Status)
ALWAYS = ("ok", "changed", "failed", "unreachable")
"""Those that are counted even where there is none."""


def show(reports: Mapping[str, HostReport], record: str = "") -> None:
    """Say what became of all hosts; of a single one the lines of its steps have said it.

    Args:
        reports: of the hosts.
        record: name of the run's record; empty: there is none.
    """
    lines = []
    if len(reports) > 1:
        lines = ["", *of_steps(reports), "", *of_hosts(reports)]
        if record and not all(report.status in WELL for report in reports.values()):
            lines.append(f"to retry the hosts that did not end well: fab --retry-from {record} TASK")
    say("\n".join(fitted([*lines, count(reports)])))


def of_hosts(reports: Mapping[str, HostReport]) -> list[str]:
    """A line for each host: its status, its time, how its steps ended, its first error."""
    width = max(map(len, reports))
    lines = []
    for host, report in reports.items():
        steps = steps_of(report)
        what = [f"steps: {steps}" if steps else "", *(report.error.what.splitlines()[:1] if report.error else [])]
        text = "  ".join(filter(None, what))
        lines.append(f"{host:{width}}  {report.status:11} {report.seconds:6.1f} s  {text}".rstrip())
    return lines


def steps_of(report: HostReport) -> str:
    """How many of its steps ended how, as one text; of a host without steps, nothing."""
    counts = Counter(step.status for task in report.tasks for step in task.steps)
    skipped = sum(len(task.skipped) for task in report.tasks)
    texts = [f"{counts[status]} {status}" for status in get_args(StepStatus) if counts[status]]
    return ", ".join([*texts, *([f"{skipped} {cases.SKIPPED}"] if skipped else [])])


def of_steps(reports: Mapping[str, HostReport]) -> list[str]:
    """A line for each step that took any time."""
    rows = step_rows(reports)
    return aligned([["step", "median", "longest", "on", ""], *rows], right=(1, 2)) if rows else []


def step_rows(reports: Mapping[str, HostReport]) -> list[list[str]]:
    """Of each step that took any time: its name, its usual and its longest time, on which host, and how it ended."""
    from statistics import median  # slow to import, and seldom needed

    steps: dict[str, list[tuple[str, Case]]] = {}
    for host, report in reports.items():
        for case in cases.of_host(report):
            if case.seconds and case.task:
                steps.setdefault(case.name, []).append((host, case))
    rows = []
    for name, found in steps.items():
        on, slowest = max(found, key=lambda each: each[1].seconds)
        ended = Counter(case.status for _, case in found)
        usual = median(case.seconds for _, case in found)
        how = "  ".join(f"{status} {ended[status]}" for status in STATUSES if ended[status])
        rows.append([name, f"{usual:.1f} s", f"{slowest.seconds:.1f} s", on, how])
    return rows


def aligned(rows: list[list[str]], right: Collection[int] = ()) -> list[str]:
    """Rows as lines with columns.

    Args:
        rows: the cells of each, the same number in all.
        right: the columns that are aligned on the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        lines.append("  ".join(cell.rjust(wide) if at in right else cell.ljust(wide) for at, (cell, wide) in cells))
    return [line.rstrip() for line in lines]


def count(reports: Mapping[str, HostReport]) -> str:
    """How many hosts have which status, as one text."""
    found = counted(reports)
    return "  ".join(f"{status} {found.get(status, 0)}" for status in STATUSES if status in found or status in ALWAYS)


def counted(reports: Mapping[str, HostReport]) -> dict[Status, int]:
    """How many hosts have which status, of those that any has."""
    found = Counter(report.status for report in reports.values())
    return {status: found[status] for status in STATUSES if found[status]}


def fitted(lines: list[str]) -> list[str]:
    """Lines that a terminal shows as one each; where there is none, all of each."""
    most = console.columns()
    if not most:
        return lines
    from rich.cells import cell_len, set_cell_size  # some characters take two places

    shown = map(printable, lines)
    return [line if cell_len(line) <= most else f"{set_cell_size(line, most - 1)}…" for line in shown]
