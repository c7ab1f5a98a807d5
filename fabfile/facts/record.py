"""The record of a pool, /etc/devmapper-pool/NAME.conf, as a type for each variant.

Shell scripts read the same file, so it consists of `KEY=value` lines. Records of every version are understood: what
only later versions write has a default, or is None if a missing line has a meaning.
"""

from __future__ import annotations

import re
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

import msgspec

from fabfile.errors import Failed, Refused
from fabfile.instance import check_instance
from fabfile.keyvalue import settings
from fabfile.sizes import SECTOR, show

CONF_DIR = "/etc/devmapper-pool"

NUMBER = re.compile(r"[0-9]{1,19}")
NUMBERS = re.compile(r"[0-9]{1,19}( [0-9]{1,19})*")


class Common(msgspec.Struct, frozen=True, kw_only=True, tag_field="VARIANT", rename="upper"):
    """What both variants record."""

    instance: str = ""
    """The containerd instance that uses the pool; empty: the default one."""


class LoopRecord(Common, frozen=True, kw_only=True, tag="loop"):
    """The record of a loop pool. Sizes are in bytes."""

    data: str
    meta: str
    """Paths of the files."""
    block_sectors: int
    asked_bytes: tuple[int, ...]
    asked_meta_bytes: tuple[int, ...]
    """Every size that was requested, in order: the first one, and those given to pool.grow."""
    when_full: Literal["queue", "error"] = "queue"
    threshold: int = 100
    """Percent used at which it grows; 100: never."""
    percent: int = 0
    max_bytes: int = 0
    dir_made: bool | None = None
    """Whether the directory was created for the files; None: an earlier version did not record it."""
    volume: str = ""
    """VG/LV that the files are on, if one was requested."""
    volume_made: tuple[str, ...] = ()
    """What of it was created with the pool; see `loop.volume.MADE`."""
    making: bool | None = None
    """Whether the pool was never complete, so missing parts may be created. None: an earlier version wrote this."""
    volume_uuid: str | None = None
    fs_uuid: str | None = None
    mount: str | None = None
    data_ino: str | None = None
    meta_ino: str | None = None
    kept_inodes: tuple[str, ...] = ()
    """Inodes of metadata that repairs and restores kept."""
    unfinished_inodes: tuple[str, ...] = ()
    """Inode of the file that is being made, or that an interrupted run left unfinished."""

    @property
    def dir(self) -> str:
        """Directory of the files."""
        return self.data.rpartition("/")[0] or "/"

    @property
    def files_dir(self) -> str:
        """Directory of the files."""
        return self.dir

    @property
    def volume_dir(self) -> str:
        """Where a volume is mounted that was created with the pool; empty: none was."""
        return self.dir if {"volume", "filesystem"} & set(self.volume_made) else ""

    @property
    def where(self) -> dict[str, str]:
        """The fields of a `Query` that tell what is under the pool."""
        return {"dir": self.dir, "volume": self.volume}

    @property
    def monitored(self) -> bool:
        """Whether the monitor's timer lets it grow."""
        return True

    @property
    def block(self) -> int:
        """Size of a block in bytes."""
        return self.block_sectors * SECTOR

    @property
    def meta_size(self) -> int:
        """The largest metadata size that was requested, in bytes."""
        return max(self.asked_meta_bytes)

    @property
    def candidate(self) -> str:
        """Path at which a repair makes new metadata, before that replaces the old."""
        return f"{self.meta}.candidate"


class LvmRecord(Common, frozen=True, kw_only=True, tag="direct"):
    """The record of a direct pool. Sizes are in bytes."""

    vg: str
    lv: str
    chunk_bytes: int
    dir: str = ""
    """Directory of containerd's snapshotter."""
    data_percent: int | None = None
    meta_size: str | None = None
    """As requested."""
    asked_bytes: int = 0
    asked_meta_bytes: int = 0
    """What pool.grow was given last; 0: nothing."""
    own_group: bool = False
    """Whether the volume group was created for the pool, and is removed with it."""
    disks: tuple[str, ...] = ()
    """Serial number or path, and size, of each disk that was taken for the pool."""
    vg_uuid: str | None = None
    lv_uuid: str | None = None
    pv_uuids: tuple[str, ...] | None = None
    kept_uuids: tuple[str, ...] | None = None
    """What belongs to the pool, by LVM's UUIDs; None: an earlier version wrote the record."""

    @property
    def path(self) -> str:
        """VG/LV, as LVM's commands name it."""
        return f"{self.vg}/{self.lv}"

    @property
    def physicals(self) -> tuple[str, ...]:
        """UUIDs of the physical volumes that were created for it, as far as recorded."""
        return self.pv_uuids or ()

    @property
    def volumes(self) -> tuple[str, ...]:
        """UUIDs of its volumes, as far as recorded: the pool, and metadata that repairs and restores kept."""
        return tuple(uuid for uuid in (self.lv_uuid, *(self.kept_uuids or ())) if uuid)

    @property
    def block(self) -> int:
        """Size of a block, LVM's chunk, in bytes."""
        return self.chunk_bytes

    @property
    def files_dir(self) -> str:
        """Directory of its files: it has none."""
        return ""

    @property
    def volume_dir(self) -> str:
        """Where a volume of a loop pool is mounted: there is none."""
        return ""

    @property
    def dir_made(self) -> None:
        """Whether a directory was created for it: not recorded."""
        return None

    @property
    def where(self) -> dict[str, str]:
        """The fields of a `Query` that tell what is under the pool."""
        return {"vg": self.vg}

    @property
    def monitored(self) -> bool:
        """Whether the monitor's timer lets it grow: no, as dmeventd does."""
        return False

    @property
    def candidate(self) -> str:
        """Path at which a repair makes new metadata: none, as LVM makes it and replaces the old in one step."""
        return ""


Record = LoopRecord | LvmRecord

VARIANTS: dict[str, type[LoopRecord | LvmRecord]] = {"loop": LoopRecord, "direct": LvmRecord}
"""VARIANT in the record → type."""

EARLIER = {"ASKED_BYTES": ("DATA_SECTORS", SECTOR), "ASKED_META_BYTES": ("META_BYTES", 1)}
"""What version 0.1, whose pools could not grow, wrote instead of two keys, and the number of bytes in its unit."""


def variant(record: Record) -> str:
    """Return the variant of a pool, as in its record and in the inventory."""
    return str(record.__struct_config__.tag)


def conf(name: str) -> str:
    """Return the path of a pool's record. If it exists, this tool manages the pool."""
    return f"{CONF_DIR}/{name}.conf"


def parse(path: str, text: str) -> Record:
    """Parse the text of the record at `path`.

    Raises:
        Failed: it is damaged: its variant is unknown, a key is missing, or a value is not valid.
    """
    return read(path, settings(text))


_fields = cache(msgspec.structs.fields)  # which reads the annotations of a class anew each time


def read(path: str, found: dict[str, str]) -> Record:
    """Build the record from its lines, key → value; see `parse`."""
    kind = VARIANTS.get(found.get("VARIANT", "loop"))  # version 0.1 knew no other
    if kind is None:
        raise _damaged(path, [f"VARIANT is {found['VARIANT']!r:.100}"])
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for field in _fields(kind):
        key, unit = field.encode_name, 1
        if kind is LoopRecord and "ASKED_BYTES" not in found:
            key, unit = EARLIER.get(key, (key, unit))
        text = found.get(key)
        if not text and field.required:
            wrong.append(f"{key} is missing")
        elif text is not None:
            try:
                value = _value(field.type, text)
            except ValueError as error:
                wrong.append(f"{key} is {error}: {text!r:.100}")
                continue
            if value is not None:
                values[field.name] = value if unit == 1 else tuple(one * unit for one in value)
    wrong += _refused(found)
    if wrong:
        raise _damaged(path, wrong)
    return kind(**values)


def _refused(found: dict[str, str]) -> list[str]:
    """Values that would lead a script of root's, or a command that a hint suggests, elsewhere; or that divide by 0."""
    paths = {key: found[key] for key in ("DATA", "META") if found.get(key)}
    wrong = [f"{key} is no absolute path: {path!r:.100}" for key, path in paths.items() if not path.startswith("/")]
    wrong += [f"{key} is 0" for key in ("BLOCK_SECTORS", "CHUNK_BYTES") if set(found.get(key, "")) == {"0"}]
    if instance := found.get("INSTANCE"):
        try:
            check_instance(instance)
        except Refused:
            wrong.append(f"INSTANCE is no instance's name: {instance!r:.100}")
    return wrong


def _value(kind: Any, text: str) -> Any:
    """Convert a value to the type of its field; None if it is empty.

    Raises:
        ValueError: it is not valid; the text completes "KEY is …".
    """
    inner = [one for one in get_args(kind) if one is not NoneType] if isinstance(kind, UnionType) else [kind]
    kind = inner[0]
    if kind is str:
        return text
    if kind == tuple[str, ...]:
        return tuple(text.split())
    if kind is bool:
        if text not in ("yes", "no"):
            raise ValueError("neither yes nor no")
        return text == "yes"
    if not text:
        return None
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ValueError(f"none of {', '.join(get_args(kind))}")
        return text
    if not (NUMBERS if kind == tuple[int, ...] else NUMBER).fullmatch(text):
        raise ValueError("no number")
    return tuple(map(int, text.split())) if kind == tuple[int, ...] else int(text)


def _damaged(path: str, wrong: list[str]) -> Failed:
    hint = "fix the file by hand; move it away only if its pool is gone"
    return Failed(f"the record {path:.200} is damaged", "\n".join(wrong), hint=hint)


def differences(has: Record, wants: Record) -> list[str]:
    """List the settings in which two records differ, a line each, as they are in hosts.toml."""
    if type(has) is not type(wants):
        return [f"variant: it has {variant(has)}, requested: {variant(wants)}"]
    fields = [field.name for field in msgspec.structs.fields(type(has))]
    return [
        f"{SETTINGS.get(name, name)}: it has {_shown(has, name)}, requested: {_shown(wants, name)}"
        for name in fields
        if getattr(has, name) != getattr(wants, name)
    ]


SETTINGS = {"block_sectors": "block_size", "chunk_bytes": "chunk_size"}
"""Field of a record → the setting that it is recorded from, where that has another name."""


def _shown(record: Record, name: str) -> str:
    """A value as in hosts.toml; one that was left out is the default."""
    if name in SETTINGS:
        return show(record.block)
    value = getattr(record, name)
    return "its default" if value in ("", None) else str(value)


def plainly(mount: str) -> str:
    """Return a mount point as it is recorded, without characters that are special to a shell."""
    return re.sub(r"[^A-Za-z0-9_.+@:/-]", "_", mount)
