"""Find the pool that is meant, whatever the inventory says of its variant, and look at it."""

from __future__ import annotations

import msgspec

from fabfile import hints, inventory
from fabfile.context import Context
from fabfile.errors import Refused
from fabfile.facts import Facts, Query, about, gather, gather_beside
from fabfile.facts.record import LvmRecord
from fabfile.instance import DEFAULT, Daemon
from fabfile.inventory import Host, Pool
from fabfile.pool import limits, units
from fabfile.pool.ownership import owner


def look(c: Context, name: str, instance: str) -> tuple[Host, Query, Facts]:
    """The pool of a containerd as it was made. One round trip; two where the inventory describes another one.

    Args:
        c: the machine.
        name: of the pool; empty: the one that the inventory describes, or else the only one of this containerd.
        instance: the containerd; see inventory.of.

    Returns:
        The host with that pool, what was asked, and the answer.

    Raises:
        Refused: a name that cannot be.
    """
    host = inventory.of(c, instance)
    if name:
        limits.check_name(name)
    query = _query(host, name or host.pool.dm_name)
    have = gather(c, query)
    host = msgspec.structs.replace(host, pool=meant(have, host, name))
    wanted = _query(host, host.pool.dm_name)
    return host, wanted, have if wanted == query else gather_beside(c, wanted, have)


def look_beside(c: Context, name: str, daemon: Daemon, have: Facts) -> tuple[Host, Facts]:
    """Another pool of a machine that was looked at just now. One round trip.

    Args:
        c: the machine.
        name: of the pool, which is one that was made here.
        daemon: the containerd that it was made for.
        have: what was seen.

    Returns:
        The host with that pool, and what was seen of it.
    """
    host = inventory.of(c, daemon.instance or DEFAULT)
    host = msgspec.structs.replace(host, pool=meant(have, host, name))
    return host, gather_beside(c, _query(host, name), have)


def _query(host: Host, name: str) -> Query:
    return about(host, pool=name, files=units.paths(name))


def meant(have: Facts, host: Host, name: str) -> Pool:
    """The pool that a person means by `name` or by saying none: the inventory's, as far as it is not made otherwise.

    Args:
        have: the machine.
        host: with the pool that the inventory describes.
        name: what was said.
    """
    named, pool, made = name, host.pool, have.instances.pools
    name = name or pool.dm_name
    mine = of(have, host.daemon)
    if not named and name not in made and name not in have.instances.active and len(mine) == 1:
        (name,) = mine
    record = made.get(name)
    if isinstance(record, LvmRecord):
        config = have.instances.configs.get(owner(record).config)
        root = (config.pool_root if config and config.pool == name else "") or pool.dir
        return msgspec.structs.replace(pool, variant="direct", vg=record.vg, lv=record.lv, dir=root)
    if record or named:
        return msgspec.structs.replace(pool, variant="loop", name=name, dir=record.dir if record else pool.dir)
    return pool


def of(have: Facts, daemon: Daemon) -> list[str]:
    """The names of the pools that were made for a containerd."""
    return [pool for pool, record in have.instances.pools.items() if record.instance == daemon.instance]


def choose(have: Facts, daemon: Daemon, name: str, *, named: bool) -> str:
    """The name of the pool of `daemon`: `name` if there is one of it, else, unless it was `named`, its only one.

    Raises:
        Refused: there is none, or it is another containerd's.
    """
    pools = have.instances.pools
    if name in pools:
        whose = owner(pools[name])
        if whose.instance != daemon.instance:
            raise Refused(
                f"the pool {name} was made for {whose}",
                f"asked for {daemon}",
                hint=f"name it: {' '.join(['--instance', whose.instance or DEFAULT, '--name', name])}",
            )
        return name
    mine = [] if named else of(have, daemon)
    if len(mine) != 1:
        known = ", ".join(sorted(pools)) or "none"
        show = [hints.command("pool.status", owner(of), pool) for pool, of in pools.items()]
        make = f"make one: {hints.command('deploy', daemon)}"
        raise Refused(f"no pool {name} of {daemon}", f"pools that were made here: {known}", "; or ".join(show) or make)
    return mine[0]
