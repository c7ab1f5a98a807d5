"""Bar charts, a panel for each measure, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.snapshotter.kinds import KINDS
from bench.snapshotter.measures import MEASURES, Measure
from bench.snapshotter.result import Ratio, Row, ratios

COLUMNS = 2
TITLE = "devmapper, in multiples of overlayfs on the same machine: shorter is better"
COLORS = {
    "loop 64K": "#08519c", "loop 64K, page cache": "#6baed6", "loop 64K, zeros written": "#9ecae1",
    "loop 512K": "#3182bd", "direct 64K": "#fdae6b", "direct 512K": "#e6550d",
}  # fmt: skip


def draw(rows: Sequence[Row], stem: Path) -> None:
    """Write `stem`.png and `stem`.svg."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.hashsalt": "snapshotter", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot

    lines = -(-len(MEASURES) // COLUMNS)
    figure, panels = pyplot.subplots(lines, COLUMNS, figsize=(10, 1.75 * lines + 0.6), layout="constrained")
    figure.suptitle(TITLE, fontweight="bold")
    for number, (measure, panel) in enumerate(zip(MEASURES, panels.flat, strict=True)):
        _panel(panel, measure, {kind.name: ratios(rows, kind.name, measure.name) for kind in KINDS[1:]})
        if number % COLUMNS:
            panel.set_yticklabels([])
    for suffix, metadata in ((".png", {}), (".svg", {"Date": None})):
        figure.savefig(stem.with_suffix(suffix), dpi=120, metadata=metadata)


def _panel(panel: Any, measure: Measure, found: dict[str, Ratio]) -> None:
    """Draw one measure: a bar up to the median, a whisker from least to most, and a line at overlayfs."""
    names = list(found)
    medians = [ratio.median for ratio in found.values()]
    whiskers = [
        [ratio.median - ratio.least for ratio in found.values()],
        [ratio.most - ratio.median for ratio in found.values()],
    ]
    panel.barh(names, medians, color=[COLORS[name] for name in names], xerr=whiskers, ecolor="#444", capsize=2)
    panel.axvline(1, color="black", linewidth=1)
    panel.invert_yaxis()
    panel.set_xlim(0, 1.18 * max(1, *(ratio.most for ratio in found.values())))
    for name, ratio in found.items():
        panel.annotate(
            f"{ratio.median:.2f}",
            (ratio.most, name),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    panel.set_title(measure.title, fontsize=9, loc="left")
    panel.spines[["top", "right"]].set_visible(False)
