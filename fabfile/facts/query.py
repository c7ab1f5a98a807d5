"""What the facts of a machine are asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fabfile.instance import Daemon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fabfile.host import Host

POOL = ("needs", "files", "pool", "instances", "known", "lvm", "disks")
"""Facts that the steps which create, check and remove a pool ask for: containerd itself is asked nothing."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """The names and paths that facts depend on."""

    files: tuple[str, ...] = ()
    pool: str = "containerd-pool"
    dir: str = "/var/lib/containerd/devmapper"
    volume: str = ""
    vg: str = ""
    """Volume group of a direct pool; LVM is queried only if one is named here or in the pool's record."""
    devices: tuple[str, ...] = ()
    """Disks to inspect, before something is written to them."""
    all_disks: bool = False
    """Inspect every disk and partition."""
    bin_dir: str = "/usr/local/bin"
    instance: str = ""
    image: str = ""
    """Image of the smoke test, as containerd knows it."""
    only: tuple[str, ...] = ()
    """Names of the facts to gather besides those in `facts.ALWAYS`; empty: all."""
    prove: bool = False
    """Have the snapshotter make and remove a snapshot: the only thing that gathering facts can write."""

    @property
    def daemon(self) -> Daemon:
        """The containerd in question."""
        return Daemon(self.instance, self.bin_dir)


def about(host: Host, **more: Any) -> Query:
    """Make the query about a machine's containerd and pool, of either variant.

    Args:
        host: the machine.
        more: other fields of the query, or other values.
    """
    pool = host.pool
    known = {
        "pool": pool.dm_name,
        "dir": pool.dir.rstrip("/"),
        "vg": pool.vg if pool.variant == "direct" else "",
        "instance": host.instance,
        "bin_dir": host.bin_dir,
    }
    return Query(**{**known, **more})


def together(queries: Sequence[Query]) -> Query:
    """Combine queries about the same machine, containerd and pool into one.

    Raises:
        ValueError: they are about different ones, which is a mistake in this program.
    """
    if len(queries) == 1:
        return queries[0]
    values: dict[str, Any] = {}
    for field in Query.__struct_fields__:
        given = [getattr(query, field) for query in queries]
        if field == "only" and not all(given):
            continue
        if isinstance(given[0], tuple):
            values[field] = tuple(dict.fromkeys(each for all_of_one in given for each in all_of_one))
            continue
        distinct = set(given) if field in ("pool", "dir", "instance", "bin_dir") else {each for each in given if each}
        if len(distinct) > 1:
            raise ValueError(f"steps of one task ask about different hosts: {field} is {distinct}")
        values[field] = distinct.pop() if distinct else given[0]
    return Query(**values)
