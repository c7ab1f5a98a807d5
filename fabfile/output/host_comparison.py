"""Compare hosts: fold their names, group them by equal values, and describe where they differ (drift)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from fabfile.console import plural

Thing = TypeVar("Thing")

FEW = 5
"""Number of values of one trait that are listed with their hosts; the others are only counted."""

NUMBERED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names that can be folded; addresses such as `root@[::1]:22` are listed as they are."""

DIGEST = re.compile(r"-[0-9a-f]{12}$")
"""The suffix of a version that we built: a digest of what it was built from."""


def names(hosts: Iterable[str]) -> str:
    """Return the names in the notation of -H, with ranges: `web[01-12],db1`."""
    hosts = list(hosts)
    plain = [host for host in hosts if not NUMBERED.fullmatch(host)]
    if len(hosts) - len(plain) > 1:
        from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet  # slow to import, and seldom needed

        numbered = (host for host in hosts if NUMBERED.fullmatch(host))
        return ",".join([str(NodeSet.fromlist(numbered, resolver=RESOLVER_NOGROUP)), *plain])
    return ",".join(hosts)


def counted(hosts: Sequence[str]) -> str:
    """Return the number of hosts and their names: `12 hosts: web[01-12]`."""
    return f"{plural(len(hosts), 'host')}: {names(hosts)}"


def grouped(things: Mapping[str, Thing]) -> list[tuple[Thing, list[str]]]:
    """Return each value once, with the hosts that have it; the value of the most hosts comes first.

    Args:
        things: name of a host → its value. The order of the hosts is kept.
    """
    found: dict[Thing, list[str]] = {}
    for host, thing in things.items():
        found.setdefault(thing, []).append(host)
    return sorted(found.items(), key=lambda each: -len(each[1]))


def drift(traits: Mapping[str, Mapping[str, str]], width: int) -> list[str]:
    """Describe each trait in which hosts differ: `drift: runc 1.3.3 on web[01-10], 1.3.2 on web11`.

    Args:
        traits: name of a host → name of a trait → its value; a host without the trait is not compared.
        width: columns at which lines are wrapped; names of hosts are not broken.
    """
    lines: list[str] = []
    for trait in dict.fromkeys(trait for own in traits.values() for trait in own):
        values = {host: own[trait] for host, own in traits.items() if trait in own}
        said = short(values.values())
        groups = grouped(values)
        if len(groups) > 1:
            parts = [f"{said[value]} on {names(hosts)}" for value, hosts in groups[:FEW]]
            if rest := groups[FEW:]:
                parts.append(f"{len(rest)} other values on {names(host for _, hosts in rest for host in hosts)}")
            line = f"drift: {trait} {', '.join(parts)}"
            lines += textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return lines


def short(versions: Iterable[str]) -> dict[str, str]:
    """Map each version to itself without its digest; if that makes two versions equal, all keep their digests."""
    every = dict.fromkeys(versions)
    cut = {version: DIGEST.sub("", version) for version in every}
    return cut if len(set(cut.values())) == len(cut) else {version: version for version in every}
