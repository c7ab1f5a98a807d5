"""The tables of hosts.toml: one may be about many hosts, and every setting has a table that it comes from."""

from __future__ import annotations

import re
from typing import Any

from fabfile import ranges

Sources = dict[str, str]
"""Key, those of a pool as `pool.size` → the table that sets it: `defaults`, `hosts.web1` or `hosts."web[01-64]"`."""

BUILT_IN = "default"
"""Source of a setting that no table sets."""


def of_hosts(tables: dict[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Sources]]:
    """Return the table of each host, and the sources of its keys.

    `[hosts."web[01-64]"]` is a table for many hosts, and the keys in a host's own table override it.

    Args:
        tables: word → table.
        where: prefix of an error.

    Raises:
        Refused: a range is not valid.
    """
    found: dict[str, Any] = {}
    said: dict[str, Sources] = {}
    for word, table in sorted(tables.items(), key=lambda each: not ranges.is_range(each[0])):
        own = sources(table, f"hosts.{quoted(word)}")
        for name in ranges.expand(word, where):
            before = found.get(name)
            found[name] = _merged(before, table) if isinstance(before, dict) and isinstance(table, dict) else table
            said[name] = {**said[name], **own} if name in said else own
    in_order = [name for word in tables for name in ranges.expand(word, where)]
    return {name: found[name] for name in in_order}, said


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    pools = [table["pool"] for table in (under, over) if isinstance(table.get("pool"), dict)]
    return {**under, **over, **({"pool": {**pools[0], **pools[-1]}} if pools else {})}


def sources(table: Any, name: str) -> Sources:
    """Return the sources of the keys of a single table."""
    if not isinstance(table, dict):
        return {}
    pool = table.get("pool")
    inner = pool if isinstance(pool, dict) else {}
    return {key: name for key in table if key != "pool"} | {f"pool.{key}": name for key in inner}


def quoted(name: str) -> str:
    """Return the name of a host, group or range as a key of TOML, in quotes if it needs them; it contains none."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
