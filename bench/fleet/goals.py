"""The goals of the comparison, and whether they are met."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from bench.fleet.extras import KNOWN, KNOWN_HASHED, KNOWN_LONG, SIZE, TRIPS, TRIPS_GATEWAY, UPLOAD, WAIT
from bench.fleet.figures import Row, median, ratio, sizes
from bench.fleet.tools import ANSIBLE, CHECKS, COMMAND, DEPLOY, OPENSSH, OURS, PARALLEL_SSH, PYINFRA
from fabfile.console import plural

MANY = 32
"""Number of hosts from which the bare command of a library is the reference."""


class Goal(NamedTuple):
    """A figure and its limit."""

    what: str
    found: float
    most: float
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether the goal is met."""
        return self.found <= self.most


def goals(found: Sequence[Row]) -> list[Goal]:
    """Return all goals that these figures can decide."""
    return [*_peers(found), *_growth(found), *_ours(found), *_upload(found), *_trips(found)]


def _peers(found: Sequence[Row]) -> Iterator[Goal]:
    for name, count in itertools.product((CHECKS, DEPLOY), sizes(found)):
        ours, hosts = (name, OURS), plural(count, "host")
        for measure in ("wall", "cpu"):
            others = [(name, PYINFRA, 0.8, ""), (COMMAND, PARALLEL_SSH, 1.5, "'s bare command")]
            for job, tool, most, what in others[: 2 if count >= MANY else 1]:
                if (value := ratio(found, ours, (job, tool), count, measure)) is not None:
                    yield Goal(f"{name}, {hosts}, {measure}: times {tool}{what}", value, most)
        if (value := ratio(found, ours, (name, ANSIBLE), count, "wall")) is not None:
            yield Goal(f"{name}, {hosts}, wall: times {ANSIBLE}", value, 0.2)


def _growth(found: Sequence[Row]) -> Iterator[Goal]:
    """CPU and memory of one more host, between adjacent numbers of hosts from 8 on."""
    counts = [count for count in sizes(found) if count >= 8]
    costs: dict[str, list[float]] = {"cpu": [], "memory": []}
    for name, each in costs.items():
        medians = [median(found, CHECKS, OURS, count, name) or 0 for count in counts]
        each += [(b - a) / (n - m) for (a, m), (b, n) in pairwise(zip(medians, counts, strict=True))]
    for (first, then), count in zip(pairwise(costs["cpu"]), counts[2:], strict=True):
        yield Goal(f"CPU for each further host, up to {count} hosts: compared with the range before", then / first, 1.2)
    if costs["memory"]:
        first, last = (median(found, CHECKS, OURS, count, "memory") or 0 for count in (counts[0], counts[-1]))
        each_host = (last - first) / (counts[-1] - counts[0])
        yield Goal(f"memory for each further host, {counts[0]} to {counts[-1]} hosts", each_host, 1, "MiB")


def _ours(found: Sequence[Row]) -> Iterator[Goal]:
    for count in sorted({row.size for row in found if row.job == WAIT}):
        yield Goal(f"{count} hosts that sleep: CPU", median(found, WAIT, OURS, count, "cpu") or 0, 0.5, "s")
    for count in sorted({row.size for row in found if row.job == KNOWN}):
        own = median(found, KNOWN, OURS, count, "wall") or 0
        for job in (KNOWN_LONG, KNOWN_HASHED):
            more = (median(found, job, OURS, count, "wall") or 0) - own
            yield Goal(f"{job}, {count} hosts: more than with their own keys alone", more, 0.5, "s")


def _upload(found: Sequence[Row]) -> Iterator[Goal]:
    for count in sorted({row.size for row in found if row.job == UPLOAD}):
        if (value := ratio(found, (UPLOAD, OURS), (UPLOAD, OPENSSH), count, "wall")) is not None:
            yield Goal(f"a file of {SIZE >> 20} MiB to {count} hosts, wall: times scp", value, 1.2)


def _trips(found: Sequence[Row]) -> Iterator[Goal]:
    for job, what, most in ((TRIPS, "directly", 8), (TRIPS_GATEWAY, "through a gateway", 10)):
        if (trips := median(found, job, OURS, 1, "round trips")) is not None:
            yield Goal(f"round trips to a converged host, {what}", trips, most)


def table(of: Sequence[Goal]) -> str:
    """Return a Markdown table of the goals."""
    lines = ["| goal | found | at most | |", "|---|---|---|---|"]
    for goal in of:
        unit = f" {goal.unit}" if goal.unit else ""
        met = "reached" if goal.reached else "**missed**"
        lines.append(f"| {goal.what} | {goal.found:.2f}{unit} | {goal.most}{unit} | {met} |")
    return "\n".join(lines)
