"""What several hosts are, as a table: what `status` shows of one, in a row each, and in what they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from fabfile import alike, hints, sizes, traits
from fabfile.answer import Answer
from fabfile.console import printable
from fabfile.facts import Facts
from fabfile.pool import status as pools
from fabfile.pool.health.advice import advice
from fabfile.pool.health.finding import Advice
from fabfile.steps import findings

if TYPE_CHECKING:
    from fabfile.host import Host

COLUMNS = ("host", "kernel", "containerd", "runc", "pool", "size", "data", "metadata")

RIGHT = frozenset({"size", "data", "metadata"})
"""Columns of numbers."""

NUMBER = 6
"""Characters of a number, which stays in one line: `100.0%`."""


class Row(msgspec.Struct, frozen=True):
    """A host in the table."""

    kernel: str
    containerd: str
    state: str
    """Of containerd where it is not as it should be."""
    runc: str
    pool: str
    """State of the pool; further pools in lines of their own."""
    size: str
    data: str
    metadata: str
    """How much of both is used."""
    wrong: list[Advice]
    traits: dict[str, str]


def row(host: Host, have: Facts) -> Row:
    """What the table has of a host; `host` has the pool that is meant."""
    name, now = host.pool.dm_name, have.pool
    up, table = now.status, now.table
    others = [f"{other}: {'up' if other in have.instances.active else 'DOWN'}"
              for other in have.instances.pools if other != name]  # fmt: skip
    wrong = advice(have, name)
    if why := have.containerd.reason:
        wrong.append(Advice("devmapper plugin", "fail", why, hints.command("doctor", host.daemon)))
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
    """What is not right with containerd, in a word or two."""
    if not have.versions["containerd"].current and not have.containerd.active:
        return ""
    if not have.containerd.active:
        return have.containerd.changing or "not running"
    plugin = have.containerd.plugin("snapshotter", "devmapper")
    return "" if plugin and plugin.status == "ok" else f"devmapper {plugin.status if plugin else 'unknown'}"


def table(answers: Mapping[str, Answer], width: int) -> list[str]:
    """A `together.View` of status: a row for each host, what is wrong with pools, and drift."""
    rows: dict[str, Row] = {host: each.row for host, each in answers.items()}
    wrong = findings.folded({host: each.wrong for host, each in rows.items()}, width)
    differ = alike.drift({host: each.traits for host, each in rows.items()}, width)
    parts = [_drawn(rows, width), wrong, differ]
    return [line for part in parts if part for line in ("", *part)][1:]


def _drawn(rows: Mapping[str, Row], width: int) -> list[str]:
    """The table itself: words that are too long for it go on in the next line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for column in COLUMNS:
        number = column in RIGHT
        justify: Literal["left", "right"] = "right" if number else "left"
        drawn.add_column(column, overflow="fold", justify=justify, min_width=NUMBER if number else None)
    containerd = alike.short(each.containerd for each in rows.values())
    runc = alike.short(each.runc for each in rows.values())
    for host, each in rows.items():
        version = ", ".join(filter(None, [containerd[each.containerd], each.state]))
        cells = (host, each.kernel, version, runc[each.runc], each.pool, each.size, each.data, each.metadata)
        drawn.add_row(*(Text(printable(cell)) for cell in cells))
    lines = Console(width=width, color_system=None).render_lines(drawn, pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]
