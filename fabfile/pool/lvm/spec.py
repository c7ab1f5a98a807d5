"""The specification of a direct pool, and refusals of what exists in its place."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.record import LvmRecord, Record, differences
from fabfile.facts.volume_group import LogicalVolume, VolumeGroup
from fabfile.host import Pool
from fabfile.pool import limits
from fabfile.pool.health import rerun
from fabfile.pool.lvm import layout, volume_group
from fabfile.pool.safety import disk_checks


class LvmSpec(msgspec.Struct, frozen=True):
    """A requested direct pool. Sizes are in bytes."""

    name: str
    """Name of its device-mapper device."""
    dir: str
    group: str
    volume: str
    devices: tuple[str, ...]
    wipes: tuple[str, ...]
    percent: int
    """Share of the group's extents that becomes data, in percent."""
    meta_size: str
    chunk: int
    threshold: int
    """Percent used at which dmeventd extends it; 100: never."""
    step: int
    """Growth step in percent of the current size."""
    when_full: str
    instance: str = ""
    """The containerd instance that uses it; empty: the default one."""

    @property
    def path(self) -> str:
        """VG/LV."""
        return f"{self.group}/{self.volume}"


def wanted(settings: Pool, instance: str = "", wipes: Sequence[str] = ()) -> LvmSpec:
    """Build an `LvmSpec` from settings as written.

    Args:
        settings: the pool.
        instance: the containerd instance that uses it.
        wipes: devices whose content may be destroyed.

    Raises:
        Refused: a name, path or number is not valid.
    """
    volume_group.check_name(settings.vg, "pool.vg")
    volume_group.check_volume(settings.lv, "pool.lv")
    limits.check_name(settings.dm_name)
    limits.check_directory(settings.dir)
    for path in settings.devices:
        disk_checks.check_path(path, "pool.devices")
    for path in wipes:
        disk_checks.check_path(path, "wipe")
    if not 1 <= settings.data_percent <= 100:
        raise Refused(f"pool.data_percent: {settings.data_percent} is not a percentage", "from 1 to 100")
    _check_growth(settings)
    chunk = limits.block_size(settings.chunk_size, "chunk")
    layout.metadata(settings.meta_size, chunk, sizes.GIB)
    return LvmSpec(
        name=settings.dm_name, dir=settings.dir.rstrip("/"), group=settings.vg, volume=settings.lv,
        devices=settings.devices, wipes=tuple(wipes), percent=settings.data_percent, meta_size=settings.meta_size,
        chunk=chunk, threshold=settings.threshold, step=settings.percent, when_full=settings.when_full,
        instance=instance,
    )  # fmt: skip


def _check_growth(settings: Pool) -> None:
    if not 50 <= settings.threshold <= 100:
        raise Refused(
            f"pool.threshold: {settings.threshold} cannot be set in LVM",
            "percent used: 50 to 99 (LVM treats lower values as 50); 100: the pool never grows by itself",
        )
    if not 1 <= settings.percent <= 100:
        raise Refused(f"pool.percent: {settings.percent} is not a step", "percent of the pool's size: from 1 to 100")
    if settings.when_full not in ("queue", "error"):
        raise Refused(
            f"pool.when_full: {settings.when_full!r}", "queue: writers wait for space; error: they get an error at once"
        )
    if settings.max_size:
        raise Refused(
            f"pool.max_size: {settings.max_size!r} cannot be kept",
            "dmeventd knows no limit but the volume group's free extents",
            hint="size the volume group so that the pool cannot outgrow it",
        )


def refuse_other(have: Facts, want: LvmSpec, recorded: LvmRecord | None, now: VolumeGroup | None) -> None:
    """Refuse what exists in the place of the requested pool, unless it is that pool.

    Args:
        have: facts of the machine.
        want: the requested pool.
        recorded: its record, if there is one.
        now: its volume group, if it exists.

    Raises:
        Refused: this tool did not make it; it has other parameters, is gone, or cannot be used.
    """
    pool = now.volumes.get(want.volume) if now else None
    if recorded is None:
        _refuse_taken(have, want, pool, now)
        return
    refuse_parameters(want, recorded)
    if not pool and (have.pool.enabled or recorded.lv_uuid or (recorded.vg_uuid and not now)):
        raise Refused(
            f"the pool {want.path} was made by this tool, and is gone",
            "LVM does not know it; a new one would hide the loss",
            hint=f"reattach its disks, or discard the pool: {rerun.reset(want.name, want.instance)}",
        )
    if pool and recorded.lv_uuid and pool.uuid != recorded.lv_uuid:
        raise Refused(
            f"{want.path} is not the volume that was recorded",
            f"recorded {recorded.lv_uuid}, found {pool.uuid}, {pool.type} of {sizes.human(pool.size)}",
            hint="lvs -o +lv_uuid shows where it is; lvrename tells volumes of one name apart",
        )
    if pool:
        _refuse_volume(want, pool)


def refuse_parameters(want: LvmSpec, recorded: Record) -> LvmRecord:
    """Refuse a pool with other parameters than requested; return its record.

    Raises:
        Refused: with each parameter that differs.
    """
    differ = differences(recorded, asked(want, recorded if isinstance(recorded, LvmRecord) else None))
    if differ or not isinstance(recorded, LvmRecord):
        raise rerun.differs(want.name, want.instance, recorded, differ, another="--lv")
    return recorded


def _refuse_taken(have: Facts, want: LvmSpec, pool: LogicalVolume | None, now: VolumeGroup | None) -> None:
    """Refuse to create a pool if others have its name or its volume group."""
    if pool or have.pool.table:
        raise Refused(
            f"a pool {want.path} exists and was not made by this tool",
            f"{pool.type}, {sizes.human(pool.size)}" if pool else f"the device {want.name}",
            hint="choose another --lv",
        )
    if now and want.devices:
        raise Refused(
            f"a volume group {want.group} exists already",
            f"{sizes.human(now.extents * now.extent)} on {' '.join(now.devices)}; this tool did not make it",
            hint="choose another --vg; or, to make the pool in its free extents, leave out --device",
        )


def _refuse_volume(want: LvmSpec, pool: LogicalVolume) -> None:
    if pool.type != "thin-pool":
        raise Refused(f"{want.path} is not a thin pool", f"it is {pool.type}")
    if pool.thins:
        raise Refused(
            f"{want.path} holds {pool.thins} thin volumes of LVM's own",
            f"they move the pool from {want.name} to {want.name}-tpool, where containerd does not find it",
            hint="remove them, or make a pool of its own with another --lv",
        )
    if pool.dm_name != want.name:
        raise Refused(f"LVM calls {want.path} {pool.dm_name}", f"expected {want.name}")
    if pool.chunk != want.chunk:
        raise Refused(
            f"{want.path} has another chunk size", f"{sizes.show(pool.chunk)}, requested: {sizes.show(want.chunk)}"
        )


def asked(want: LvmSpec, before: LvmRecord | None = None) -> LvmRecord:
    """Build the record of a requested pool from what was requested; it stays true however the pool grows.

    Args:
        want: the requested pool.
        before: the existing record, whose other fields are kept.
    """
    new = LvmRecord(
        instance=want.instance, dir=want.dir, vg=want.group, lv=want.volume, chunk_bytes=want.chunk,
        data_percent=want.percent, meta_size=want.meta_size,
    )  # fmt: skip
    if before is None:
        return new
    return msgspec.structs.replace(
        before, vg=new.vg, lv=new.lv, chunk_bytes=new.chunk_bytes, data_percent=new.data_percent,
        meta_size=new.meta_size,
    )  # fmt: skip
