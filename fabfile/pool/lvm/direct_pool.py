"""Create a thin pool with LVM, on whole disks or in an existing volume group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fabfile import hints, inventory, sizes, systemd
from fabfile.converge import converge
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.disks import Disk
from fabfile.facts.query import POOL, about
from fabfile.facts.record import LoopRecord, LvmRecord
from fabfile.facts.volume_group import LogicalVolume, VolumeGroup
from fabfile.host import Host
from fabfile.instance import Daemon
from fabfile.output.outcome import Outcome
from fabfile.plan import Change, Command, File, Step, file
from fabfile.pool import ownership, units
from fabfile.pool.health import stated, usable
from fabfile.pool.limits import refuse_machine
from fabfile.pool.lvm import disk_claims, identity, layout, rehearsal, spec, volume_group
from fabfile.pool.safety import disk_checks, gate
from fabfile.remote.context import Context
from fabfile.render import render
from fabfile.shell import words

LVM_UNITS = "lvm2-monitor.service dm-event.socket"
"""Units of LVM that must run before a pool is activated and monitored."""


def step(host: Host, wipes: Sequence[str] = (), *, after_packages: bool = False) -> Step:
    """The step that creates the direct pool of a host's settings.

    Args:
        host: the machine.
        wipes: devices whose content may be destroyed.
        after_packages: accept missing programs, because an earlier step installs them.

    Raises:
        Refused: a size, percentage, name or device path is not valid, or LVM cannot represent it.
    """
    want = spec.wanted(host.pool, host.instance, wipes)
    devices = tuple(dict.fromkeys((*want.devices, *want.wipes)))

    def make(have: Facts) -> list[Change]:
        if not after_packages:
            volume_group.refuse_programs(have)
        return plan(have, want)

    return Step("pool.direct", make, about(host, files=units.paths(want.name), devices=devices, only=POOL))


def plan(have: Facts, want: spec.LvmSpec) -> list[Change]:
    """Plan the creation.

    Raises:
        Refused: the machine cannot have this pool, a disk is not empty, or something else is in its place.
    """
    refuse_machine(have)
    systemd.refuse_changing(units.unit(want.name), have.pool.changing)
    ownership.refuse_foreign(have, Daemon(want.instance), want.name, want.dir)
    there = units.recorded(have, want.name)
    if isinstance(there, LoopRecord):
        spec.refuse_parameters(want, there)
    recorded = identity.recorded(have, want.name)
    usable.refuse_unseen(have, want.name)
    now = volume_group.usable(have, want.group, recorded)
    spec.refuse_other(have, want, recorded, now)
    ownership.refuse_move(have, Daemon(want.instance), want.name, want.dir, "direct")
    if recorded is None:
        ownership.refuse_stale(have, Daemon(want.instance), want.name)
    fresh = disk_claims.disks(have, want.devices, want.wipes, recorded, now)
    rehearsal.refuse_sectors(have, fresh, now)
    rehearsal.refuse_volume_list(have, spec.asked(want), now)
    pool = now.volumes.get(want.volume) if now else None
    mine = recorded.physicals if recorded else ()
    uuids = disk_claims.physicals(have, fresh, mine)
    emptied = disk_claims.wiped(have, fresh, want.wipes, mine)
    made = [] if pool else [*_group(want, now, fresh, emptied, uuids), _make(want, now, fresh)]
    adjusted = _adjusted(have, want, pool)
    if now:
        volume_group.refuse_change(now, [*made, *adjusted])
    written = _files(have, want, _record(want, recorded, fresh, now, uuids))
    # The disks are inspected again, and LVM tries the commands in its test mode, before anything at all is changed.
    return [
        *disk_claims.unchanged(fresh, want.group),
        *_tried(want, now, pool),
        *written,
        *made,
        *adjusted,
        *_active(have, want, pool, written),
    ]


def _record(
    want: spec.LvmSpec, recorded: LvmRecord | None, fresh: list[Disk], now: VolumeGroup | None, uuids: dict[str, str]
) -> LvmRecord:
    """Build the record. What it has about disks stays once they are in the group, and so does what pool.grow wrote."""
    new = recorded or msgspec.structs.replace(spec.asked(want), vg_uuid=now.uuid if now else "")
    if recorded and not fresh:
        return msgspec.structs.replace(new, instance=want.instance, dir=want.dir)
    return msgspec.structs.replace(
        new, instance=want.instance, dir=want.dir, own_group=now is None,
        disks=tuple(map(disk_claims.identity, fresh)), pv_uuids=tuple(uuids[disk.real] for disk in fresh),
    )  # fmt: skip


def _files(have: Facts, want: spec.LvmSpec, record: LvmRecord) -> list[Change]:
    """The files that keep the pool across reboots. The record comes first, as it makes ours what is created next."""
    conf = render("pool/direct.conf.j2", name=want.name, record=record)
    return [
        *file(have, f"settings of the pool {want.name}", units.conf(want.name), conf),
        *units.common_changes(have, want.name, want.dir, Daemon(want.instance), LVM_UNITS),
    ]


def _group(
    want: spec.LvmSpec, now: VolumeGroup | None, fresh: list[Disk], emptied: list[Disk], uuids: dict[str, str]
) -> list[Change]:
    if now:
        return []
    made = disk_claims.group(fresh, emptied, want.group, uuids, units.conf(want.name))
    return [*map(disk_checks.wipe, emptied), made]


def _tried(want: spec.LvmSpec, now: VolumeGroup | None, pool: LogicalVolume | None) -> list[Command]:
    """Have LVM try to create the pool in an existing group; on disks that are not yet written to, it cannot try."""
    if not now or pool:
        return []
    return rehearsal.tried(f"the pool {want.path}", [_create(want, _layout(want, now, []))])


def _layout(want: spec.LvmSpec, now: VolumeGroup | None, fresh: list[Disk]) -> layout.Layout:
    if now:
        extent, whole, free = now.extent, now.extents, now.free - now.closed_free
    else:
        extent, whole = layout.EXTENT, layout.predicted([disk.size for disk in fresh])
        free = whole
    return layout.layout(
        extent=extent, extents=whole, free=free, percent=want.percent, meta_size=want.meta_size, chunk=want.chunk,
        step=want.step, grows=want.threshold < 100, closed=now.closed if now else (),
    )  # fmt: skip


def _create(want: spec.LvmSpec, place: layout.Layout) -> str:
    """The command, with each setting that lvm.conf may change; there is no option for what a full pool does."""
    return words(
        "lvcreate", "-y", "--type", "thin-pool", "--zero", "n", "-c", f"{want.chunk // 1024}K",
        "--discards", "passdown", "--config", f"activation/error_when_full={int(want.when_full == 'error')}",
        "--poolmetadatasize", f"{place.meta * place.extent // 1024}K", "-l", place.data,
        "-n", want.volume, want.group,
    )  # fmt: skip


def _make(want: spec.LvmSpec, now: VolumeGroup | None, fresh: list[Disk]) -> Change:
    place = _layout(want, now, fresh)
    why = (
        f"thin pool {want.path}: data {sizes.human(place.data * place.extent)} "
        f"({want.percent}% of {place.extents} extents), "
        f"metadata and its spare {sizes.human(place.meta * place.extent)} each, "
        f"{sizes.human(place.left * place.extent)} left to grow into"
    )
    note = identity.note_volume(units.conf(want.name), want.path)
    return Command(why, f"{_create(want, place)}\n{note}", gate.functions())


def _adjusted(have: Facts, want: spec.LvmSpec, pool: LogicalVolume | None) -> list[Change]:
    """What may change in an existing pool: its LVM profile, and what happens when it is full."""
    text = render("pool/lvm.profile.j2", name=want.name, threshold=want.threshold, percent=want.step)
    now = have.lvm.profile if have.lvm else None
    where = have.lvm.settings.get("profile_dir") if have.lvm else ""
    plan: list[Change] = []
    if now != text:
        path = f"{where or volume_group.PROFILES}/{want.name}.profile"
        why = f"LVM profile: at {want.threshold}% used it grows by {want.step}%"
        if want.threshold == 100:
            why = "LVM profile: it never grows by itself"
        plan.append(File(why=why, path=path, content=text, before=now))
    if not pool or pool.profile != want.name:
        plan.append(Command("attach the profile", words("lvchange", "--metadataprofile", want.name, want.path)))
    if pool and pool.when_full != want.when_full:
        flag = "y" if want.when_full == "error" else "n"
        plan.append(Command(f"when full: {want.when_full}", words("lvchange", "--errorwhenfull", flag, want.path)))
    return plan


def _active(have: Facts, want: spec.LvmSpec, pool: LogicalVolume | None, written: list[Change]) -> list[Change]:
    systemd.refuse_masked(have, units.unit(want.name))
    table, unread = have.pool.table, systemd.unread(have, units.unit(want.name))
    if table and table.target != "thin-pool":
        raise Refused(f"the active device {want.name} is not a thin pool", f"its target is {table.target}")
    if table and have.pool.active and have.pool.enabled:
        plan: list[Change] = []
        if have.pool.stale or unread or systemd.unit_files(written):
            plan = [Command("systemd reads the changed unit", "systemctl daemon-reload")]
        if not pool or pool.monitor != "monitored":
            plan.append(Command("have dmeventd watch the pool", words(units.SCRIPT, "up", want.name)))
        return plan
    why = "activate the pool and have dmeventd watch it, now and at every boot"
    again = [Command("reload systemd's units", "systemctl daemon-reload")] if unread else []
    check = f"{hints.command('pool.check', want.instance, want.name)}; then follow its advice"
    return [*again, Command(why, systemd.start(written, units.unit(want.name), restart=True, otherwise=check))]


def make_direct_pool(c: Context, wipe: Sequence[str], instance: str, **given: Any) -> list[Outcome]:
    """Create the direct pool of the machine's containerd, unless it exists.

    Args:
        c: the machine.
        wipe: devices whose content may be destroyed.
        instance: the containerd instance; see `inventory.of`.
        given: settings of the pool that were typed, of `host.DIRECT_OPTIONS`.

    Raises:
        Pending: with --dry, if anything would change.
    """
    host = inventory.of(c, instance)
    host = msgspec.structs.replace(host, pool=host.pool.given({**given, "variant": "direct"}))
    outcomes = converge(c, [step(host, wipe), usable.step(host)])
    if any(one.status == "changed" for one in outcomes):
        usable.say_stopped(c, host)
    stated.advise_changed(host, outcomes)
    return outcomes
