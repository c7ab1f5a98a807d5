"""The findings about a pool, each with its fix, for pool.status and doctor."""

from __future__ import annotations

import shlex

from fabfile import hints, sizes
from fabfile.facts import Facts
from fabfile.facts.pool import Pool, Status
from fabfile.facts.record import LoopRecord, Record
from fabfile.pool import limits, units
from fabfile.pool.health import activation, missing, monitor, rerun, unit_state, visibility, writable
from fabfile.pool.health.finding import Finding
from fabfile.pool.ownership import owner


def pool_findings(have: Facts, name: str) -> list[Finding]:
    """List what is wrong with a pool, worst first; nothing if it is healthy, or neither ours nor active.

    docs/full-pools.md describes what the kernel does when a pool is full, and what that means for containers.
    """
    recorded = name in have.instances.pools
    if not have.pool.status or not have.pool.table:
        return down(have, name) if recorded else []
    found = blocking(have, name)
    if have.pool.warning and not found:
        found.append(
            Finding("pool growth", "warn", have.pool.warning, f"{more_data(have, name)}; or {free(have, name)}")
        )
    if not recorded:
        return found
    found += databases(have, name)
    return [
        *found,
        *_unit(have, name),
        *_gone(have, name),
        *monitor.findings(have, name),
        *([] if found else _room(have, name)),
    ]


def blocking(have: Facts, name: str) -> list[Finding]:
    """What is wrong with an active pool that no deploy fixes: its mode, and what LVM reports."""
    pool = have.pool
    if not pool.status or not pool.table:
        return []
    if pool.suspended:
        resume = shlex.join(["dmsetup", "resume", name])
        return [Finding("pool", "fail", "it is suspended: all I/O waits until it is resumed", resume)]
    lvm = visibility.findings(have, name, have.instances.pools.get(name))
    return [*_lost(have, name), *writable.findings(have, name), *_mode(have, pool, pool.status, name), *lvm]


def databases(have: Facts, name: str) -> list[Finding]:
    """Whether containerd's databases were lost, or belong to another pool; only for an active pool of ours."""
    known = have.known
    if name not in have.instances.pools:
        return []
    if have.units.unfinished:
        found = f"they do not fit the pool: its metadata was being restored from {have.units.unfinished}"
        return [Finding("containerd's databases", "fail", found, _task(have, name, "pool.restore", "--yes"))]
    if not have.pool.status or have.pool.status.mode in ("Fail", "Error"):
        return []
    if any(one.what == activation.OTHER for one in visibility.findings(have, name, have.instances.pools[name])):
        return []  # what is there now is not the pool
    if have.containerd.active and have.containerd.loaded != have.config.digest:
        return []  # it may still use another pool, which is reported first
    if known.blocks and known.entries == 0:
        found = f"it has {known.blocks} blocks in use, but containerd's database lists no devices on it"
        return [
            Finding(
                "containerd's databases", "fail", found, f"{_task(have, name, 'pool.fsck')}; then follow its advice"
            )
        ]
    # While containerd creates or removes a snapshot, some of them may list it and others not; if all do, it is another
    # pool's.
    if known.blocks != 0 or not (known.entries and known.snapshots and known.records):
        return []
    named = max(known.entries, known.snapshots, known.records)
    found = f"it is empty, but containerd's databases list {named} devices and snapshots: they belong to another pool"
    return [Finding("containerd's databases", "fail", found, _task(have, name, "pool.fsck", "--fix"))]


def _gone(have: Facts, name: str) -> list[Finding]:
    """Files whose absence keeps the pool from starting at the next boot."""
    if units.conf(name) not in have.files:
        return []
    recorded = have.instances.pools[name]
    wanted = units.kept_by(recorded, name)
    # A masked unit is a dangling link, and is reported as masked.
    gone = [p for p in wanted if p not in have.files and have.units.of(p.rpartition("/")[2]).load != "masked"]
    if not gone:
        return []
    found = f"{' and '.join(gone)} {'are' if gone[1:] else 'is'} missing: the pool would not start at the next boot"
    daemon = rerun.stopped(have, name)
    then = f"; then {hints.on_host(f'systemctl start {daemon}')}" if daemon else ""
    return [Finding("pool at boot", "fail", found, f"{rerun.command(name, recorded)}{then}")]


def _room(have: Facts, name: str) -> list[Finding]:
    """Whether the file system has room for what a pool on sparse files may still need."""
    pool, recorded = have.pool, have.instances.pools[name]
    if not (isinstance(recorded, LoopRecord) and pool.data and pool.place and pool.table):
        return []
    size = pool.data.size
    left = size - pool.data.allocated
    step = size * recorded.percent // 100 if recorded.threshold < 100 else 0
    if pool.place.free >= min(left + step, max(step, min(left, size // 10))):
        return []
    room, where = sizes.human(pool.place.free), pool.place.target
    found = f"{room} can still be written before {where} is full, but the pool may need {sizes.human(left + step)} more"
    return [Finding("room under the pool", "warn", found, f"make room on {where}; or {free(have, name)}")]


def _lost(have: Facts, name: str) -> list[Finding]:
    """Missing parts of a loop pool."""
    return [Finding("pool files", "fail", loss.found, loss.way) for loss in missing.losses(have, name)]


def down(have: Facts, name: str) -> list[Finding]:
    """Why a pool of ours is down, with the last log line of its unit, and the fix."""
    recorded, unit = have.instances.pools[name], have.units.of(units.unit(name))
    if _half_removed(have, name, recorded):
        finish = f"to finish that: {rerun.reset(name, recorded.instance)}"
        return [Finding("pool", "fail", "its files and its unit are gone: its removal was interrupted", finish)]
    causes = [*_lost(have, name), *writable.findings(have, name)]
    causes += [*visibility.findings(have, name, recorded), *_gone(have, name)]
    why = unit_state.trouble(unit) or "its unit does not run"
    if unit.load == "masked":
        return [Finding("pool", "fail", f"it is down: {why}", unit_state.unmask(units.unit(name))), *causes]
    if unit.active == "activating":  # restarting it would interrupt a check of its metadata
        hint = f"see what it waits for: systemctl status {shlex.quote(units.unit(name))}; systemctl list-jobs"
        return [*causes, Finding("pool", "fail", f"it is down: {why}", hint)]
    up = f"systemctl restart {shlex.quote(units.unit(name))} && systemctl start {owner(recorded).unit}"
    if unit_state.skips(unit):
        return [*causes, Finding("pool", "fail", f"it is down: {why}", unit_state.met(up))]
    if causes:
        return [*causes, Finding("pool", "fail", f"it is down: {why}", f"once that is fixed: {up}")]
    check = hints.command("pool.check", owner(recorded), name)
    # If its own log names a task, a plain restart was tried and would fail again.
    way = (
        f"{check}; then follow its advice"
        if "see pool." in unit.last
        else f"{hints.on_host(up)}; where that fails: {check}"
    )
    return [Finding("pool", "fail", f"it is down: {why}", way)]


def _half_removed(have: Facts, name: str, recorded: Record) -> bool:
    """Whether nothing is left of a loop pool but its record, which a removal removes last, although it was complete.

    For a direct pool, `visibility` reports this. Files on a file system that is not mounted are not gone.
    """
    if not isinstance(recorded, LoopRecord) or recorded.making or units.conf(name) not in have.files:
        return False
    parts = (have.pool.data, have.pool.meta, have.pool.data_loop, have.pool.meta_loop)
    there = have.pool.enabled or units.unit_path(name) in have.files or any(parts)
    return not there and all(loss.what != "mount" for loss in missing.losses(have, name))


def _unit(have: Facts, name: str) -> list[Finding]:
    """The unit of an active pool: if it failed, containerd failed with it; if it is masked, it does not start again."""
    unit = have.units.of(units.unit(name))
    why = unit_state.trouble(unit)
    if not why:
        return []
    daemon = owner(have.instances.pools[name])
    hint = f"systemctl start {shlex.quote(units.unit(name))} {daemon.unit}"
    if unit.load == "masked":
        hint = unit_state.unmask(units.unit(name))
    if unit.load == "error":
        hint = f"systemctl daemon-reload && {hint}"
    if unit_state.skips(unit):
        hint = unit_state.met(hint)
    return [Finding("pool unit", "fail", f"the pool is up, but {why}", hint)]


def free(have: Facts, name: str) -> str:
    """How to free space in the pool."""
    return f"remove images and containers, then {_task(have, name, 'pool.trim')}"


def _task(have: Facts, name: str, task: str, *options: str) -> str:
    return hints.command(task, owner(have.instances.pools.get(name)), name, *options)


RESTART = "restart the containers that got errors"
"""After an error, a file system may stay read-only, or show damage that is not on disk, until it is mounted again."""


def _mode(have: Facts, pool: Pool, status: Status, name: str) -> list[Finding]:
    if status.mode in ("Fail", "Error"):
        found = "the kernel has put it into fail mode: all I/O fails"
        return [Finding("pool", "fail", found, f"{_task(have, name, 'pool.check')}; then follow its advice")]
    unit = owner(have.instances.pools.get(name)).unit
    restart = f"systemctl restart {shlex.quote(units.unit(name))}"
    again = f"check it: {hints.on_host(f'systemctl stop {unit}; {restart} && systemctl start {unit}')}"
    if status.needs_check:
        found = "writing its metadata failed: read-only until it has been checked"
        first = "have its files writable" if writable.findings(have, name) else "make room under the pool"
        hint = f"{first}; {again}; where that fails: {_task(have, name, 'pool.repair')}"
        return [Finding("pool", "fail", found, hint)]
    if full := metadata_full(have, name):
        return [full]
    if status.mode == "ro":
        hint = f"{again}; where that fails: {_task(have, name, 'pool.repair')}"
        return [Finding("pool", "fail", "the kernel has made it read-only: writes fail", hint)]
    if status.mode == "out_of_data_space":
        then = f", then {RESTART}" if status.when_full == "error" else ""
        hint = f"{more_data(have, name)}{then}; or {free(have, name)}"
        return [Finding("pool", "fail", f"its data is full: {_waiting(pool, status)}", hint)]
    return []


def metadata_full(have: Facts, name: str) -> Finding | None:
    """The finding that a pool's metadata is full but sound; None otherwise."""
    status = have.pool.status
    if status is None or status.needs_check or status.mode != "ro" or status.used_meta < status.total_meta:
        return None
    found = f"its metadata is full ({status.used_meta} of {status.total_meta} blocks): read-only, writes fail"
    return Finding("pool", "fail", found, f"{more_metadata(have, name)}, then {RESTART}")


def _waiting(pool: Pool, status: Status) -> str:
    assert pool.table is not None
    if status.when_full != "error":
        if pool.no_space_timeout == 0:
            return "writers wait until there is space"
        return f"writers wait, for {pool.no_space_timeout or 60} s, and then get errors"
    if pool.table.when_full == "queue":
        return "the queue timeout has expired: writes now fail"
    return "writes fail"


def more_metadata(have: Facts, name: str) -> str:
    """The command that doubles the metadata of an existing pool."""
    assert have.pool.status is not None
    double = min(2 * have.pool.status.total_meta * limits.META_BLOCK, limits.META_MOST)
    return _task(have, name, "pool.grow", "--meta-size", sizes.show(double))


def more_data(have: Facts, name: str) -> str:
    """The command that enlarges an existing pool by a fifth, and what to do first if there is no room for that."""
    pool, group = have.pool, have.lvm.group if have.lvm else None
    assert pool.table is not None
    now = pool.table.sectors * sizes.SECTOR
    size = ("--size", f"{-(-now * 6 // 5 // sizes.MIB)}M")
    if group and group.free * group.extent < now // 5:
        more = visibility.unused(have.lvm, group) + _task(have, name, "pool.grow", "--device", "DEV", *size)
        return f"{more}, as its group has {sizes.human(group.free * group.extent)} free"
    if pool.place and pool.data and pool.place.free < now * 6 // 5 - pool.data.allocated:
        room = sizes.human(pool.place.free)
        return f"make room on {pool.place.target}, which has {room} free, then {_task(have, name, 'pool.grow', *size)}"
    return _task(have, name, "pool.grow", *size)
