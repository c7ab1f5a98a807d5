"""A volume group with its volumes and disks, as LVM reports it."""

from __future__ import annotations

import msgspec

REPORT = {
    "vg": "vg_name,vg_uuid,vg_extent_size,vg_extent_count,vg_free_count,vg_missing_pv_count,vg_attr,vg_lock_type"
    ",vg_systemid,vg_tags",
    "pv": "pv_name,vg_name,pv_uuid,pv_attr,pv_free",
    "lv": "lv_name,lv_size,lv_metadata_size,lv_dm_path,lv_active,lv_when_full,lv_profile,lv_uuid,lv_health_status"
    ",lv_tags,lv_device_open",
    "seg": "lv_name,segtype,chunk_size,thin_count,seg_monitor,transaction_id,thin_id,pool_lv",
    "pvseg": "pv_name",
}
"""Part of a report → the fields to ask for."""

Rows = dict[str, list[dict[str, str]]]
"""A report: kind of object → rows, each field → value."""


class LogicalVolume(msgspec.Struct, frozen=True):
    """A logical volume. Sizes are in bytes."""

    name: str
    type: str
    size: int
    meta: int = 0
    dm_name: str = ""
    active: bool = False
    chunk: int = 0
    thins: int = 0
    """Number of thin volumes that LVM itself has in it."""
    when_full: str = ""
    profile: str = ""
    monitor: str = ""
    """`monitored` if dmeventd watches it."""
    uuid: str = ""
    partial: bool = False
    """A part of it is on a disk that is missing."""
    tags: tuple[str, ...] = ()
    transaction: int | None = None
    """Transaction id that LVM expects a pool to have."""
    pool: str = ""
    """Name of the pool that a thin volume is in."""
    thin: int | None = None
    """Thin id of a thin volume."""
    open: bool = False
    """A process or a device above it has it open."""


class VolumeGroup(msgspec.Struct, frozen=True):
    """A volume group. `extents`, `free` and `closed_free` are numbers of extents."""

    uuid: str
    extent: int
    """Size of an extent in bytes."""
    extents: int
    free: int
    missing: int
    """Number of physical volumes that are missing."""
    attr: str
    lock_type: str
    devices: tuple[str, ...]
    volumes: dict[str, LogicalVolume]
    name: str = ""
    system: str = ""
    """System ID of the host that it belongs to, if it has one."""
    closed: tuple[str, ...] = ()
    """Devices on which LVM may allocate nothing."""
    closed_free: int = 0
    """Free extents on `closed` devices."""
    twice: tuple[str, ...] = ()
    """Devices whose identity another device has, too."""
    tags: tuple[str, ...] = ()

    @property
    def partial(self) -> list[LogicalVolume]:
        """The volumes that are partly on missing disks."""
        return [volume for volume in self.volumes.values() if volume.partial]

    def of_device(self, name: str) -> LogicalVolume | None:
        """Return the volume with a device-mapper name; None if there is none."""
        return next((volume for volume in self.volumes.values() if volume.dm_name == name), None)

    def of_uuid(self, uuid: str | None) -> LogicalVolume | None:
        """Return the volume with a UUID; None if there is none, or if no UUID is given."""
        return next((volume for volume in self.volumes.values() if volume.uuid and volume.uuid == uuid), None)


class _Report(msgspec.Struct):
    report: list[Rows]


def report(text: str) -> list[Rows]:
    """Parse LVM's JSON into one report for each volume group.

    Raises:
        ValueError: it is not what was asked for.
    """
    try:
        return msgspec.json.decode(text, type=_Report).report
    except RecursionError as error:
        raise ValueError("objects are nested without end") from error


def names(parts: list[Rows]) -> dict[str, str]:
    """Map the UUID of each volume group and volume, without hyphens, to `VG` or `VG/LV`."""
    found = {}
    for part in parts:
        for vg in part.get("vg", []):
            if vg["vg_name"]:
                found[vg["vg_uuid"].replace("-", "")] = vg["vg_name"]
                found |= {lv["lv_uuid"].replace("-", ""): f"{vg['vg_name']}/{lv['lv_name']}" for lv in part["lv"]}
    return found


def group(part: Rows) -> VolumeGroup:
    """Build a volume group from its report."""
    (vg,) = part["vg"]
    segments: dict[str, dict[str, str]] = {}
    for segment in part.get("seg", []):
        segments.setdefault(segment["lv_name"], segment)
    return VolumeGroup(
        uuid=vg["vg_uuid"],
        extent=int(vg["vg_extent_size"]),
        extents=int(vg["vg_extent_count"]),
        free=int(vg["vg_free_count"]),
        missing=int(vg["vg_missing_pv_count"]),
        attr=vg["vg_attr"],
        lock_type=vg["vg_lock_type"],
        devices=tuple(pv["pv_name"] for pv in part["pv"]),
        name=vg["vg_name"],
        system=vg["vg_systemid"],
        closed=tuple(pv["pv_name"] for pv in part["pv"] if pv["pv_attr"][:1] != "a"),
        closed_free=sum(int(pv["pv_free"]) for pv in part["pv"] if pv["pv_attr"][:1] != "a")
        // int(vg["vg_extent_size"]),
        twice=tuple(pv["pv_name"] for pv in part["pv"] if pv["pv_attr"][:1] == "d"),
        tags=tuple(filter(None, vg["vg_tags"].split(","))),
        volumes={lv["lv_name"]: _volume(lv, segments.get(lv["lv_name"], {})) for lv in part.get("lv", [])},
    )


def _volume(lv: dict[str, str], segment: dict[str, str]) -> LogicalVolume:
    return LogicalVolume(
        name=lv["lv_name"],
        type=segment.get("segtype", ""),
        size=int(lv["lv_size"]),
        meta=int(lv["lv_metadata_size"] or 0),
        dm_name=lv["lv_dm_path"].rpartition("/")[2],
        active=lv["lv_active"] == "active",
        chunk=int(segment.get("chunk_size") or 0),
        thins=int(segment.get("thin_count") or 0),
        when_full=lv["lv_when_full"],
        profile=lv["lv_profile"],
        monitor=segment.get("seg_monitor", ""),
        uuid=lv["lv_uuid"],
        partial=lv["lv_health_status"] == "partial",
        tags=tuple(filter(None, lv["lv_tags"].split(","))),
        transaction=int(segment["transaction_id"]) if segment.get("transaction_id") else None,
        pool=segment.get("pool_lv", "").strip("[]"),
        thin=int(segment["thin_id"]) if segment.get("thin_id") else None,
        open=lv.get("lv_device_open") == "open",
    )
