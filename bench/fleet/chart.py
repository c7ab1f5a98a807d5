"""Line charts over the number of hosts, a panel for each job and measure, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.fleet.figures import Row, median, sizes
from bench.fleet.tools import (
    ANSIBLE,
    ASYNCSSH,
    CHECKS,
    COMMAND,
    DEPLOY,
    OPENSSH,
    OURS,
    PARALLEL_SSH,
    PARAMIKO,
    PYINFRA,
    WAYS,
)

TITLE = "Time by number of hosts, median: lower is better"
JOBS = {COMMAND: "run true", CHECKS: "packages, converged", DEPLOY: "packages, containerd, runc, converged"}
MEASURES = {"wall": "wall seconds", "cpu": "CPU seconds of the controller"}
COLORS = {
    OURS: "#08519c", OPENSSH: "#636363", PARALLEL_SSH: "#31a354", PARAMIKO: "#9e9ac8", ASYNCSSH: "#d6a400",
    PYINFRA: "#e6550d", ANSIBLE: "#a50f15",
}  # fmt: skip
MARKS = {OURS: "o", OPENSSH: "s", PARALLEL_SSH: "^", PARAMIKO: "P", ASYNCSSH: "X", PYINFRA: "D", ANSIBLE: "v"}


def draw(found: Sequence[Row], stem: Path) -> None:
    """Write `stem`.png and `stem`.svg."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.hashsalt": "fleet", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(JOBS), 2, figsize=(10, 10), layout="constrained", sharex=True, sharey="col")
    figure.suptitle(TITLE, fontweight="bold")
    for line, job in zip(panels, JOBS, strict=True):
        for panel, measure in zip(line, MEASURES, strict=True):
            _panel(panel, found, job, measure)
    for panel in panels[-1]:
        panel.set_xlabel("hosts")
    handles = {
        name: line for panel in panels.flat for line, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False)
    for suffix, metadata in ((".png", {}), (".svg", {"Date": None})):
        figure.savefig(stem.with_suffix(suffix), dpi=120, metadata=metadata)


def _panel(panel: Any, found: Sequence[Row], job: str, measure: str) -> None:
    """Draw one job and measure, a line for each tool."""
    counts = sizes(found)
    for way in WAYS:
        if way.job == job:
            points = [(count, median(found, job, way.tool, count, measure)) for count in counts]
            line = [(count, value) for count, value in points if value is not None]
            wide = 2.5 if way.tool == OURS else 1.5
            panel.plot(
                *zip(*line, strict=True), color=COLORS[way.tool], marker=MARKS[way.tool], linewidth=wide, label=way.tool
            )
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xticks(counts, [str(count) for count in counts])
    panel.yaxis.set_major_formatter("{x:g}")
    panel.grid(axis="y", which="major", color="#ddd")
    panel.set_title(f"{JOBS[job]}: {MEASURES[measure]}", fontsize=9, loc="left")
    panel.spines[["top", "right"]].set_visible(False)
