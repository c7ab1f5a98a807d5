"""The figures of a comparison, their medians and ratios, and a table of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from bench.fleet.clock import Cost
from bench.fleet.tools import WAYS
from fabfile.console import plural

UNITS = {"wall": "s", "cpu": "s", "memory": "MiB", "hosts": "s"}
"""Units of the fields of a `Cost`."""


class Row(NamedTuple):
    """One figure of one run."""

    round: int
    job: str
    tool: str
    size: int
    """Number of hosts."""
    measure: str
    unit: str
    value: float


def rows(number: int, job: str, tool: str, hosts: int, cost: Cost) -> list[Row]:
    """Return the figures of a run."""
    return [Row(number, job, tool, hosts, name, unit, getattr(cost, name)) for name, unit in UNITS.items()]


def values(found: Sequence[Row], job: str, tool: str, hosts: int, measure: str) -> dict[int, float]:
    """Map each round to its figure; empty if it was not measured."""
    wanted = (job, tool, hosts, measure)
    return {row.round: row.value for row in found if (row.job, row.tool, row.size, row.measure) == wanted}


def median(found: Sequence[Row], job: str, tool: str, hosts: int, measure: str) -> float | None:
    """Return the median of all rounds, or None if it was not measured."""
    of = values(found, job, tool, hosts, measure)
    return statistics.median(of.values()) if of else None


def ratio(
    found: Sequence[Row], ours: tuple[str, str], other: tuple[str, str], hosts: int, measure: str
) -> float | None:
    """Return the ratio of two figures: the median over the rounds, each figure divided by the other of the same round.

    Args:
        found: all figures.
        ours: job and tool.
        other: job and tool to divide by.
        hosts: number of hosts.
        measure: which figure.
    """
    mine, theirs = (values(found, job, tool, hosts, measure) for job, tool in (ours, other))
    return statistics.median(mine[each] / theirs[each] for each in mine) if mine and theirs else None


def sizes(found: Sequence[Row]) -> list[int]:
    """Return the numbers of hosts on which the tools were compared, in order."""
    return sorted({row.size for row in found if row.job in {way.job for way in WAYS}})


def table(found: Sequence[Row]) -> str:
    """Return a Markdown table of the medians of wall and CPU seconds."""
    counts = sizes(found)
    heads = [plural(count, "host") for count in counts]
    lines = [f"| wall s / controller CPU s | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for way in WAYS:
        cells = []
        for count in counts:
            wall, cpu = (median(found, way.job, way.tool, count, measure) for measure in ("wall", "cpu"))
            cells.append("" if wall is None or cpu is None else f"{wall:.2f} / {cpu:.2f}")
        lines.append(f"| {way.tool}, {way.job} | {' | '.join(cells)} |")
    return "\n".join(lines)
