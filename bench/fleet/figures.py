"""The figures of a comparison, their medians and ratios, and a table of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from bench.fleet.clock import Cost
from bench.fleet.tools import WAYS

UNITS = {"wall": "s", "cpu": "s", "memory": "MiB", "hosts": "s"}
"""Of the fields of a `Cost`."""


class Row(NamedTuple):
    """One figure of one run."""

    round: int
    job: str
    tool: str
    size: int
    """How many hosts."""
    measure: str
    unit: str
    value: float


def rows(number: int, job: str, tool: str, hosts: int, cost: Cost) -> list[Row]:
    """The figures of a run."""
    return [Row(number, job, tool, hosts, name, unit, getattr(cost, name)) for name, unit in UNITS.items()]


def values(found: Sequence[Row], job: str, tool: str, hosts: int, measure: str) -> dict[int, float]:
    """Round → figure; nothing where it was not measured."""
    wanted = (job, tool, hosts, measure)
    return {row.round: row.value for row in found if (row.job, row.tool, row.size, row.measure) == wanted}


def median(found: Sequence[Row], job: str, tool: str, hosts: int, measure: str) -> float | None:
    """The median of all rounds, if it was measured."""
    of = values(found, job, tool, hosts, measure)
    return statistics.median(of.values()) if of else None


def ratio(
    found: Sequence[Row], ours: tuple[str, str], other: tuple[str, str], hosts: int, measure: str
) -> float | None:
    """How often a figure has another one in it: the median of the rounds, each divided by the same round's.

    Args:
        found: all figures.
        ours: job and tool.
        other: those it is divided by.
        hosts: how many.
        measure: which figure.
    """
    mine, theirs = (values(found, job, tool, hosts, measure) for job, tool in (ours, other))
    return statistics.median(mine[each] / theirs[each] for each in mine) if mine and theirs else None


def sizes(found: Sequence[Row]) -> list[int]:
    """How many hosts the tools were compared on, in order."""
    return sorted({row.size for row in found if row.job in {way.job for way in WAYS}})


def table(found: Sequence[Row]) -> str:
    """Medians of wall and CPU seconds as a table in Markdown."""
    counts = sizes(found)
    heads = [f"{count} host{'s' * (count != 1)}" for count in counts]
    lines = [f"| wall s / controller CPU s | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for way in WAYS:
        cells = []
        for count in counts:
            wall, cpu = (median(found, way.job, way.tool, count, measure) for measure in ("wall", "cpu"))
            cells.append("" if wall is None or cpu is None else f"{wall:.2f} / {cpu:.2f}")
        lines.append(f"| {way.tool}, {way.job} | {' | '.join(cells)} |")
    return "\n".join(lines)
