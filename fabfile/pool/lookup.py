"""Which pool a task means, and its facts, whatever variant the inventory names."""

from __future__ import annotations

import msgspec

from fabfile import hints, inventory
from fabfile.errors import Refused
from fabfile.facts import Facts, gather, gather_beside
from fabfile.facts.query import Query, about
from fabfile.facts.record import LvmRecord
from fabfile.host import Host, Pool
from fabfile.instance import DEFAULT, Daemon
from fabfile.pool import limits, units
from fabfile.pool.ownership import owner
from fabfile.remote.context import Context


def find_pool(c: Context, name: str, instance: str, only: tuple[str, ...] = ()) -> tuple[Host, Query, Facts]:
    """Find the pool of a containerd as it was created, and gather its facts.

    That takes one round trip, or two if the inventory describes another pool.

    Args:
        c: the machine.
        name: pool name; empty: the pool that the inventory describes, or else the only one of this containerd.
        instance: the containerd instance; see `inventory.of`.
        only: see `Query`; if it is not empty, it has `instances`.

    Returns:
        The host with that pool, the query, and the facts.

    Raises:
        Refused: `name` is not a valid pool name.
    """
    host = inventory.of(c, instance)
    if name:
        limits.check_name(name)
    query = _query(host, name or host.pool.dm_name, only)
    have = gather(c, query)
    host = msgspec.structs.replace(host, pool=meant(have, host, name))
    wanted = _query(host, host.pool.dm_name, only)
    return host, wanted, have if wanted == query else gather_beside(c, wanted, have)


def find_pool_beside(c: Context, name: str, daemon: Daemon, have: Facts) -> tuple[Host, Facts]:
    """Gather the facts of another pool on a machine whose facts have just been gathered, in one round trip.

    Args:
        c: the machine.
        name: name of the pool, which was created by this program.
        daemon: the containerd instance that it was created for.
        have: the facts gathered first.

    Returns:
        The host with that pool, and its facts.
    """
    host = inventory.of(c, daemon.instance or DEFAULT)
    host = msgspec.structs.replace(host, pool=meant(have, host, name))
    return host, gather_beside(c, _query(host, name), have)


def _query(host: Host, name: str, only: tuple[str, ...] = ()) -> Query:
    return about(host, pool=name, files=units.paths(name), only=only)


def meant(have: Facts, host: Host, name: str) -> Pool:
    """Return the pool that an operator means: the inventory's, corrected by the record of the existing pool.

    Args:
        have: facts of the machine.
        host: the host, with the pool that the inventory describes.
        name: the name given; empty: none was given.
    """
    named, pool, made = name, host.pool, have.instances.pools
    name = name or pool.dm_name
    mine = pools_of(have, host.daemon)
    if not named and name not in made and name not in have.instances.active and len(mine) == 1:
        (name,) = mine
    record = made.get(name)
    if isinstance(record, LvmRecord):
        config = have.instances.configs.get(owner(record).config_path)
        root = (config.pool_root if config and config.pool == name else "") or pool.dir
        return msgspec.structs.replace(pool, variant="direct", vg=record.vg, lv=record.lv, dir=root)
    if record or named:
        return msgspec.structs.replace(pool, variant="loop", name=name, dir=record.dir if record else pool.dir)
    return pool


def pools_of(have: Facts, daemon: Daemon) -> list[str]:
    """List the names of the pools created for a containerd."""
    return [pool for pool, record in have.instances.pools.items() if record.instance == daemon.instance]


def choose(have: Facts, daemon: Daemon, name: str, *, named: bool) -> str:
    """Return the name of the existing pool that an operator means.

    Args:
        have: facts of the machine.
        daemon: the containerd instance.
        name: the pool's name, typed or from the inventory.
        named: whether the operator typed it; otherwise the only pool of `daemon` is taken if there is none of that
            name.

    Raises:
        Refused: there is no such pool, or it belongs to another containerd.
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
    mine = [] if named else pools_of(have, daemon)
    if len(mine) != 1:
        known = ", ".join(sorted(pools)) or "none"
        show = [hints.command("pool.status", owner(record), pool) for pool, record in pools.items()]
        make = f"make one: {hints.command('deploy', daemon)}"
        raise Refused(
            f"no pool {name} of {daemon}", f"pools made by this tool on the host: {known}", "; or ".join(show) or make
        )
    return mine[0]
