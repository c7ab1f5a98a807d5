"""The figures of a comparison, their ratios, and a table of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from bench.snapshotter.kinds import FLOOR, KINDS
from bench.snapshotter.measures import MEASURES


class Row(NamedTuple):
    """One figure of one kind in one round."""

    round: int
    kind: str
    measure: str
    unit: str
    value: float


class Ratio(NamedTuple):
    """A kind's figure divided by that of overlayfs, over all rounds."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        """Format it as in the table."""
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


def ratios(rows: Sequence[Row], kind: str, measure: str) -> Ratio:
    """Compare `kind` with overlayfs: each figure is divided by that of overlayfs in the same round."""
    figures = {(row.round, row.kind): row.value for row in rows if row.measure == measure}
    each = [value / figures[number, FLOOR.name] for (number, of), value in figures.items() if of == kind]
    return Ratio(statistics.median(each), min(each), max(each))


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table of the ratios: median (least to most)."""
    names = [kind.name for kind in KINDS[1:]]
    lines = [f"| times {FLOOR.name} | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for measure in MEASURES:
        cells = " | ".join(str(ratios(rows, name, measure.name)) for name in names)
        lines.append(f"| {measure.title} | {cells} |")
    return "\n".join(lines)
