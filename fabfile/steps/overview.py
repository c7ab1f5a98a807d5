"""The answer of `status` for several hosts: a table with one row per host, findings, and drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from fabfile import hints, sizes, traits
from fabfile.console import printable
from fabfile.facts import Facts
from fabfile.output import host_comparison
from fabfile.output.answer import Answer
from fabfile.pool import status as pools
from fabfile.pool.health.finding import Finding
from fabfile.pool.health.findings import pool_findings
from fabfile.steps import findings_table

if TYPE_CHECKING:
    from fabfile.host import Host

COLUMNS = ("host", "kernel", "containerd", "runc", "pool", "size", "data", "metadata")

RIGHT = frozenset({"size", "data", "metadata"})
"""Columns that contain numbers."""

NUMBER = 6
"""Characters of the longest number, which must not be wrapped: `100.0%`."""


class Row(msgspec.Struct, frozen=True):
    """The row of a host."""

    kernel: str
    containerd: str
    state: str
    """What is wrong with containerd, in a few words; empty: nothing."""
    runc: str
    pool: str
    """State of the pool, and a line for each further pool."""
    size: str
    data: str
    metadata: str
    """Percentage of the pool's metadata that is used; `data` is the same for its data."""
    wrong: list[Finding]
    traits: dict[str, str]


def row(host: Host, have: Facts) -> Row:
    """Return the row of a host.

    Args:
        host: the host, with the pool that its row shows.
        have: its facts.
    """
    name, now = host.pool.dm_name, have.pool
    up, table = now.status, now.table
    others = [f"{other}: {'up' if other in have.instances.active else 'DOWN'}"
              for other in have.instances.pools if other != name]  # fmt: skip
    wrong = pool_findings(have, name)
    if why := have.containerd.reason:
        wrong.append(Finding("devmapper plugin", "fail", why, hints.command("doctor", host.daemon)))
    return Row(
        kernel=have.system.kernel,
        containerd=have.versions["containerd"].current or "none",
        state=_state(have),
        runc=have.versions["runc"].current or "none",
        pool="\n".join([pools.state(name, have), *others]),
        size=sizes.human(table.sectors * sizes.SECTOR) if up and table else "",
        data=pools.percent(up.used_data, up.total_data) if up else "",
        metadata=pools.percent(up.used_meta, up.total_meta) if up else "",
        wrong=wrong,
        traits=traits.of(have, name),
    )


def _state(have: Facts) -> str:
    """Return what is wrong with containerd, in a few words; empty if nothing is, or if it is not installed."""
    if not have.versions["containerd"].current and not have.containerd.active:
        return ""
    if not have.containerd.active:
        return have.containerd.changing or "not running"
    plugin = have.containerd.plugin("snapshotter", "devmapper")
    return "" if plugin and plugin.status == "ok" else f"devmapper {plugin.status if plugin else 'unknown'}"


def table(answers: Mapping[str, Answer], width: int) -> list[str]:
    """The `fleet_answers.View` of status: a row for each host, findings, and drift."""
    rows: dict[str, Row] = {host: each.row for host, each in answers.items()}
    wrong = findings_table.folded({host: each.wrong for host, each in rows.items()}, width)
    differ = host_comparison.drift({host: each.traits for host, each in rows.items()}, width)
    parts = [_drawn(rows, width), wrong, differ]
    return [line for part in parts if part for line in ("", *part)][1:]


def _drawn(rows: Mapping[str, Row], width: int) -> list[str]:
    """Return the lines of the table; text that is too long for its column is wrapped."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for column in COLUMNS:
        number = column in RIGHT
        justify: Literal["left", "right"] = "right" if number else "left"
        drawn.add_column(column, overflow="fold", justify=justify, min_width=NUMBER if number else None)
    containerd = host_comparison.short(each.containerd for each in rows.values())
    runc = host_comparison.short(each.runc for each in rows.values())
    for host, each in rows.items():
        version = ", ".join(filter(None, [containerd[each.containerd], each.state]))
        cells = (host, each.kernel, version, runc[each.runc], each.pool, each.size, each.data, each.metadata)
        drawn.add_row(*(Text(printable(cell)) for cell in cells))
    lines = Console(width=width, color_system=None).render_lines(drawn, pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]
