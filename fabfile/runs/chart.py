"""Where the time of a run went, as the positions of bars: a row for each host, and in it a bar for each step.

Lengths and positions are in units of the drawing, and start at its upper left corner.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, log10

import msgspec

from fabfile.output import report_rows
from fabfile.output.outcome import WELL, HostReport

WIDTH = 960
"""Width of the chart; a browser scales it to fit the page."""

ROW, BAR, TOP = 18, 12, 24
"""Height of a row, height of the bar in it, and position of the first row."""

PAGE = 40
"""Number of rows in a part of the chart; in print, pages break between parts."""

LETTER = 6.7
"""Width of a letter in the name of a host."""

NAME = 32
"""Limit for the letters of a host's name that are shown."""

OTHER = "connecting and gathering facts"
"""Label of the time that belongs to no step."""

COLORS = 8
"""Number of colors for steps; the ninth step has the color of the first."""

LEAST = 0.005
"""Least time in seconds that gets a bar."""


class Bar(msgspec.Struct, frozen=True):
    """The time that a step took on a host."""

    step: str
    color: int
    """Number of its color; 0: the time that belongs to no step."""
    seconds: float
    x: float
    width: float
    well: bool = True


class Row(msgspec.Struct, frozen=True):
    """The row of a host."""

    host: str
    label: str
    y: float
    seconds: float
    bars: list[Bar]


class Tick(msgspec.Struct, frozen=True):
    """A line of the time scale."""

    x: float
    text: str


class Part(msgspec.Struct, frozen=True):
    """The rows that are printed together on a page."""

    height: float
    rows: list[Row]


class Chart(msgspec.Struct, frozen=True):
    """The whole chart."""

    width: float
    left: float
    parts: list[Part]
    ticks: list[Tick]
    legend: list[tuple[str, int]]


def chart(hosts: Mapping[str, HostReport]) -> Chart | None:
    """Return the chart of a run; None if nothing took any time.

    Args:
        hosts: name of a host → its report.
    """
    times = {host: _times(report) for host, report in hosts.items()}
    most = max((sum(seconds for _, seconds, _ in each) for each in times.values()), default=0)
    if most < LEAST:
        return None
    left = min(max(map(len, hosts)), NAME) * LETTER + 12
    scale = (WIDTH - left - 60) / most
    colors = {OTHER: 0}
    for each in times.values():
        for step, _, _ in each:
            colors.setdefault(step, (len(colors) - 1) % COLORS + 1)
    rows = []
    for number, (host, parts) in enumerate(times.items()):
        bars, x = [], left
        for step, seconds, well in parts:
            bars.append(Bar(step, colors[step], seconds, x, seconds * scale, well))
            x += seconds * scale
        label = host if len(host) <= NAME else f"{host[: NAME - 1]}…"
        rows.append(Row(host, label, TOP + number % PAGE * ROW, sum(seconds for _, seconds, _ in parts), bars))
    ticks = [Tick(left + seconds * scale, f"{seconds:g} s") for seconds in scale_of(most)]
    used = {bar.step for row in rows for bar in row.bars}
    legend = [(step, color) for step, color in colors.items() if step in used]
    pages = [rows[begin : begin + PAGE] for begin in range(0, len(rows), PAGE)]
    return Chart(WIDTH, left, [Part(TOP + len(page) * ROW + 4, page) for page in pages], ticks, legend)


def _times(report: HostReport) -> list[tuple[str, float, bool]]:
    """Return name, seconds and whether it succeeded, of each step that took time; time without a step comes first."""
    steps = [(case.name, case.seconds, case.status in WELL) for case in report_rows.of_host(report) if case.task]
    rest = round(report.seconds - sum(seconds for _, seconds, _ in steps), 2)
    return [each for each in ((OTHER, rest, True), *steps) if each[1] >= LEAST]


def scale_of(most: float) -> list[float]:
    """Return round numbers of seconds from 0 up to `most`, at most ten of them."""
    size = 10.0 ** floor(log10(most / 5))
    unit = next(unit for unit in (size, 2 * size, 5 * size, 10 * size) if most / unit <= 9)
    return [round(unit * number, 3) for number in range(floor(most / unit + 1e-6) + 1)]
