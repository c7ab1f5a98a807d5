"""Adopt a loop pool that something else created: give it a record, units and boot order, and keep its data.

Nothing on the pool is written. Anything about it that cannot be proved is a refusal.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fabfile import hints, inventory, sizes, systemd
from fabfile.converge import converge
from fabfile.errors import Refused
from fabfile.facts import Facts, gather
from fabfile.facts.containerd import SETTINGS
from fabfile.facts.pool import Backing
from fabfile.facts.query import Query, about
from fabfile.facts.record import LoopRecord, LvmRecord, Record
from fabfile.facts.under import Loop
from fabfile.host import Host, Pool
from fabfile.instance import Daemon
from fabfile.output.outcome import Outcome
from fabfile.plan import Change, Command, Step, file
from fabfile.pool import limits, lookup, ownership, units
from fabfile.pool.health import stated, usable
from fabfile.pool.limits import refuse_machine
from fabfile.pool.loop import files, identity, spec
from fabfile.pool.loop.filesystem import refuse_unfit
from fabfile.pool.loop.spec import LoopSpec
from fabfile.pool.maintain import comparison
from fabfile.pool.maintain.actions import InspectedPool
from fabfile.remote import target
from fabfile.remote.context import Context
from fabfile.render import render
from fabfile.shell import quote

TASK = "pool.adopt"
TOOLS = ("dmsetup", "losetup", "thin_check", "thin_ls", "thin_dump")
FEATURES = frozenset({"skip_block_zeroing", "error_if_no_space"})
"""Accepted features of its table. The first only saves time and is gone after the next boot; the second is recorded."""

FILES_ONLY = "is no loop device: only a pool on files can be adopted"
"""What is wrong with a pool that no change makes fit."""

KEYS = ("when_full", "base_image_size")
"""What the inventory should state about an adopted pool, besides what its record has."""


def used(have: Facts, daemon: Daemon) -> tuple[str, str, str]:
    """Return the name of the pool that a containerd uses, the directory of its databases, and its base image size.

    They are what containerd itself reports or, if it is not installed, what its configuration file says.
    """
    now, dump = have.instances.configs.get(daemon.config_path), have.config.dump or {}
    if now is None:
        return "", "", ""
    root = dump.get("root") or now.root or daemon.root
    place = dump.get("root_path") or now.pool_root or f"{root}/io.containerd.snapshotter.v1.devmapper"
    return dump.get("pool_name") or now.pool, place.rstrip("/"), dump.get("base_image_size") or now.base_image_size


def doubts(have: Facts, name: str, dir: str, daemon: Daemon) -> list[str]:
    """List what cannot be proved about a pool, or would be impossible for a pool of ours.

    Args:
        have: facts of the machine.
        name: the pool's name.
        dir: the directory of its files.
        daemon: the containerd instance that is to own it.
    """
    pool, table = have.pool, have.pool.table
    if table is None or pool.status is None:
        return [f"there is no active thin pool {name}"]
    found = []
    configured, root, _ = used(have, daemon)
    if configured != name:
        found.append(
            f"{daemon.config_path} names {f'the pool {configured}' if configured else 'no pool'}: whose is it?"
        )
    elif root != dir:
        found.append(f"containerd keeps its databases in {root}, and the pool's files are in {dir}: both must be one")
    if pool.status.mode != "rw" or pool.status.needs_check or pool.suspended:
        suspended = ", suspended" if pool.suspended else ""
        found.append(f"it is not healthy: {pool.status.mode}{suspended}")
    unknown = sorted(set(table.features) - FEATURES)
    if unknown:
        found.append(f"its table has {', '.join(unknown)}, which pools made by this tool do not have")
    found += _device("data", f"{dir}/data", table.data, pool.data, pool.data_loop)
    found += _device("metadata", f"{dir}/meta", table.meta, pool.meta, pool.meta_loop)
    if pool.data and pool.data.size // sizes.SECTOR // table.block_sectors * table.block_sectors != table.sectors:
        found.append(f"{dir}/data has {pool.data.size} bytes, its device {table.sectors * sizes.SECTOR}")
    if pool.meta and min(pool.meta.size, limits.META_MOST) // limits.META_BLOCK > pool.status.total_meta:
        found.append(f"{dir}/meta has {pool.meta.size} bytes, the pool {pool.status.total_meta * limits.META_BLOCK}")
    if not (pool.place and pool.place.uuid):
        found.append(f"the file system of {dir} has no UUID to identify it by")
    return found


def _device(what: str, path: str, number: str, file: Backing | None, loop: Loop | None) -> list[str]:
    """Whether a device of the pool is the only loop device on exactly that file."""
    if loop is None:
        return [f"its {what} device {number} {FILES_ONLY}"]
    if loop.deleted or loop.file != path:
        deleted = " (deleted)" if loop.deleted else ""
        return [f"its {what} device {loop.path} is on {loop.file}{deleted}, not on {path}"]
    if file is None or (file.device, file.inode) != (loop.device, loop.inode):
        return [f"{path} is another file than {loop.path} is on"]
    if file.loops != (number,):
        return [f"{path} has {len(file.loops)} loop devices: {', '.join(file.loops)}"]
    return []


def plan(have: Facts, want: LoopSpec, daemon: Daemon, elsewhere: list[str]) -> list[Change]:
    """Plan the adoption.

    Args:
        have: facts of the machine.
        want: the pool as it is.
        daemon: the containerd instance that is to own it.
        elsewhere: what else activates it at boot, a line each.

    Raises:
        Refused: something about the pool cannot be proved.
    """
    refuse_machine(have)
    limits.refuse_missing_programs(have, TOOLS)
    ownership.refuse_foreign(have, daemon, want.name, want.dir)
    found = doubts(have, want.name, want.dir, daemon)
    if found or elsewhere:
        hint = f"fix that, then {hints.command(TASK, daemon, want.name)}"
        if any(one.endswith(FILES_ONLY) for one in found):
            hint = ownership.KEEP_BOTH
        raise Refused(f"the pool {want.name} cannot be adopted", "\n".join([*found, *elsewhere]), hint=hint)
    refuse_unfit(have, want)
    both = (units.unit(want.name), units.monitor(want.name))
    systemd.refuse_masked(have, *both, units.monitor_service(want.name))
    known = {identity.MAKING: "no", **(identity.now(have, "") or {})}
    written = [*files.changes(have, want, known), *_order(have, daemon, want.name)]
    pool = have.pool
    if written or not (pool.active and pool.enabled and pool.monitor):
        # The unit finds the pool active, and leaves it as it is.
        start = systemd.start(written, *both)
        written.append(Command("its units, now and at every boot", start))
    return written


def _order(have: Facts, daemon: Daemon, name: str) -> list[Change]:
    """Start containerd after the pool, whoever installed containerd. A deploy writes more into the same file."""
    now = have.files.get(daemon.drop_in_path)
    if now and f"Requires={units.unit(name)}\n" in now.content:
        return []
    text = render("containerd/10-devmapper-pool.conf.j2", pool=name, variable=SETTINGS, digest="", mke2fs="")
    return file(have, "containerd starts after its pool", daemon.drop_in_path, text)


ELSEWHERE = """
for f in /etc/rc.local /etc/rc.d/rc.local /etc/crontab /etc/cron.d/* /var/spool/cron/crontabs/*; do
  ! grep -qsw -- "$name" "$f" || echo "$f names it: take it out there"
done
for f in /etc/systemd/system/*.service /usr/local/lib/systemd/system/*.service /lib/systemd/system/*.service; do
  if [ ! -f "$f" ] || grep -q "^# Written by containerd-devmapper" "$f"; then continue; fi
  unit=${f##*/}
  for part in "$f" $(sed -n 's/^Exec[A-Za-z]*=[-@:+!]*//p' "$f"); do
    if [ -f "$part" ] && grep -qswI -- "$name" "$part" && systemctl -q is-enabled "$unit" 2>/dev/null; then
      echo "$unit brings it up at boot, by $part: systemctl disable $unit"
      break
    fi
  done
done
"""
"""Shell that prints what else mentions the pool `$name` and runs at boot."""


def _found(c: Context, host: Host, name: str) -> tuple[Pool, Query, Facts, list[str]]:
    """The pool as an inventory would describe it, the query and its facts, and what else activates it at boot."""
    query = about(host, pool=name or host.pool.dm_name, dir=host.pool.dir, vg="")
    have = gather(c, query)
    name = name or used(have, host.daemon)[0] or host.pool.dm_name
    limits.check_name(name)
    dir = have.instances.backing.get(name, host.pool.dir.rstrip("/") + "/data").rpartition("/")[0]
    query = msgspec.structs.replace(query, pool=name, dir=dir)
    have = gather(c, query)
    pool, table = have.pool, have.pool.table
    settings = msgspec.structs.replace(host.pool, variant="loop", name=name, dir=dir, volume="", volume_size="")
    if table and pool.data and pool.meta and not doubts(have, name, dir, host.daemon):
        # A pool that was adopted before may have grown since; the sizes that were recorded then still count.
        record = have.instances.pools.get(name)
        asked = (record.asked_bytes[-1], record.asked_meta_bytes[-1]) if isinstance(record, LoopRecord) else None
        data, meta = asked or (pool.data.size, pool.meta.size)
        settings = msgspec.structs.replace(
            settings, size=sizes.exact(data), meta_size=sizes.exact(meta),
            block_size=sizes.exact(table.block_sectors * sizes.SECTOR), when_full=table.when_full,
            base_image_size=used(have, host.daemon)[2] or settings.base_image_size,
        )  # fmt: skip
    elsewhere = target.sh(
        c, f"name={quote(name)}{ELSEWHERE}", "looking for what else brings the pool up", read_only=True
    )
    return settings, query, have, elsewhere.splitlines()


def refuse_unknown(c: Context, pool: InspectedPool) -> None:
    """Refuse a pool whose thin devices are unknown to containerd's databases.

    Raises:
        Refused: the databases are missing, or belong to another pool.
    """
    seen = comparison.compare(c, TASK, pool, running=pool.have.containerd.active)
    known = {entry.id for entry in (seen.view.database or {}).values()}
    if seen.view.ids and not known & set(seen.view.ids):
        raise Refused(
            f"the pool {pool.name} cannot be adopted",
            f"it has {len(seen.view.ids)} thin devices, and {pool.database} knows none of them",
            hint=f"put its own databases into {pool.root}, then {hints.command(TASK, pool.daemon, pool.name)}",
        )


def adopt_pool(c: Context, name: str, instance: str) -> list[Outcome]:
    """Take over a loop pool that something else created.

    Args:
        c: the machine.
        name: pool name; empty: the one in containerd's configuration.
        instance: the containerd instance; see `inventory.of`.

    Raises:
        Pending: with --dry, if the pool has not been adopted yet.
        Refused: something about the pool cannot be proved.
    """
    host = inventory.of(c, instance)
    settings, query, have, elsewhere = _found(c, host, name)
    made = have.instances.pools.get(settings.name)
    if isinstance(made, LvmRecord):  # by this tool, and nobody else's can be adopted
        lookup.choose(have, host.daemon, settings.name, named=True)
        there = msgspec.structs.replace(host, pool=lookup.meant(have, host, settings.name))
        outcomes = converge(c, [usable.step(there)])
        _advise(host, {}, settings.name, made)
        return outcomes
    want = spec.wanted(
        name=settings.name, dir=settings.dir, size=settings.size, meta_size=settings.meta_size,
        block_size=settings.block_size, threshold=settings.threshold, percent=settings.percent,
        max_size=settings.max_size, when_full=settings.when_full,
        instance=host.instance,
    )  # fmt: skip
    paths = (*units.paths(want.name), host.daemon.drop_in_path)
    adopt_query = msgspec.structs.replace(query, files=paths)
    step = Step(TASK, lambda have: plan(have, want, host.daemon, elsewhere), adopt_query)
    if want.name not in have.instances.pools and not target.is_dry(c):
        gathered = gather(c, adopt_query)
        step.plan(gathered)
        record = files.record(gathered, want)
        refuse_unknown(c, InspectedPool(want.name, host.daemon, record, want.dir, query, gathered))
    outcomes = converge(c, [step, usable.step(msgspec.structs.replace(host, pool=settings))])
    new = LoopRecord(
        instance=want.instance, data=want.data_file, meta=want.meta_file, block_sectors=want.block // sizes.SECTOR,
        asked_bytes=(want.data,), asked_meta_bytes=(want.meta,),
    )  # fmt: skip
    more = {key: value for key in KEYS if (value := getattr(settings, key)) != getattr(host.pool, key)}
    _advise(host, more, want.name, made or new)
    return outcomes


def _advise(host: Host, more: dict[str, Any], name: str, record: Record) -> None:
    """Print what the inventory should state about a pool: what its record has, and `more`."""
    if differ := stated.unlike_inventory(name, record) | more:
        stated.note(host.instance, differ, "other tasks use what is there")
