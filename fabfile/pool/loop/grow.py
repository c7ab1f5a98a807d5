"""Enlarge a loop pool, data or metadata, while containers write to it."""

from __future__ import annotations

from fabfile import hints, sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.pool import Backing, Pool
from fabfile.facts.query import POOL, about
from fabfile.host import Host
from fabfile.plan import Change, Command, Step
from fabfile.pool import limits, units
from fabfile.pool.health import missing, writable
from fabfile.pool.limits import Growth
from fabfile.pool.loop import files
from fabfile.pool.loop.filesystem import overcommitted, refuse_large
from fabfile.pool.loop.loop_pool import growing
from fabfile.pool.ownership import owner
from fabfile.shell import words


def step(host: Host, growth: Growth) -> Step:
    """The step that enlarges a loop pool to at least the requested sizes.

    Args:
        host: the machine, with the pool that is meant.
        growth: the requested growth.

    Raises:
        Refused: no size is given, a size is not valid, or disks are given.
    """
    name, size, meta_size = host.pool.dm_name, growth.size, growth.meta_size
    if growth.devices or growth.wipes:
        raise Refused(
            f"the pool {name} is not a direct pool, and takes no --device", hint="give the new size: --size 200G"
        )
    limits.check_name(name)
    if not size and not meta_size:
        raise Refused("pool.grow: no size is given", hint="give the new size: --size 200G, or --meta-size 1G, or both")
    data = limits.data_size(size, limits.BLOCK_STEP) if size else 0
    meta = limits.explicit_metadata(meta_size) if meta_size else 0
    return Step("pool.grow", lambda have: plan(have, name, data, meta), about(host, files=units.paths(name), only=POOL))


def plan(have: Facts, name: str, data: int, meta: int) -> list[Change]:
    """Plan the growth.

    Args:
        have: facts of the machine.
        name: the pool's name.
        data: new size of the data device in bytes; 0: unchanged.
        meta: new size of the metadata device in bytes; 0: what `data` needs, at least the current size.

    Raises:
        Refused: the pool has no record or cannot grow now, a size is less than the current one, or there is no room.
    """
    recorded = files.recorded(have, name)
    if recorded is None:
        make = hints.command("pool.loop", "", name)
        raise Refused(f"no pool {name} made by this tool", f"no {units.conf(name)}", hint=f"make one: {make}")
    missing.refuse(have, name)
    writable.refuse(have, name)
    limits.refuse_growth(have.pool, owner(recorded), name, units.unit(name))
    if not have.pool.data or not have.pool.meta:
        raise Refused(f"the files of the pool {name} are gone", f"{recorded.data}, {recorded.meta}")
    recorded_sizes, recorded_meta_sizes = recorded.asked_bytes, recorded.asked_meta_bytes
    _refuse_less("data", data, have.pool.data.size, recorded_sizes)
    _refuse_less("metadata", meta, have.pool.meta.size, recorded_meta_sizes)
    refuse_large(have.pool.place.type if have.pool.place else "", data)
    # The metadata size is recorded as well, so that hosts.toml may state the data size alone and have it computed.
    meta = meta or (limits.metadata_size(data, recorded.block) if data else 0)
    plan: list[Change] = []
    if data > have.pool.data.size or meta > have.pool.meta.size or growing(have.pool):
        note = overcommitted(have.pool.place, data - have.pool.data.allocated)
        larger = [*_larger("data", have.pool.data, data, note), *_larger("metadata", have.pool.meta, meta, "")]
        _refuse_metadata_room(have.pool, meta)
        plan.append(Command("; ".join(larger) or "finish growing", words(units.SCRIPT, "grow", name, data, meta)))
    return [*plan, *files.grown(have, name, recorded, data or recorded_sizes[-1], meta or recorded_meta_sizes[-1])]


def _refuse_less(what: str, wanted: int, now: int, recorded_sizes: tuple[int, ...]) -> None:
    # The pool may have grown beyond the size requested last; repeating that request is not one to shrink.
    if wanted and wanted < now and wanted != recorded_sizes[-1]:
        raise limits.shrinking(what, now, wanted)


def _larger(what: str, file: Backing, wanted: int, note: str) -> list[str]:
    return [f"{what} {sizes.show(file.size)} → {sizes.show(wanted)}{note}"] if wanted > file.size else []


def _refuse_metadata_room(pool: Pool, meta: int) -> None:
    """Refuse metadata for which there is no room: it is allocated at once, unlike data."""
    assert pool.meta is not None
    more = meta - pool.meta.allocated
    if pool.place and more > pool.place.free:
        raise Refused(
            f"{pool.place.target} has no room for metadata of {sizes.show(meta)}",
            f"it takes {sizes.human(more)} more, free {sizes.human(pool.place.free)}",
        )
