"""The record of a pool of ours, /etc/devmapper-pool/NAME.conf, as a type for each variant.

A shell reads the same file, so it is made of `KEY=value` lines. Files of every version are understood: what only later
ones write has a default, or is None where a missing line means something.
"""

from __future__ import annotations

import re
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

import msgspec

from fabfile.errors import Failed, Refused
from fabfile.instance import check_instance
from fabfile.keyvalue import settings
from fabfile.sizes import SECTOR

CONF_DIR = "/etc/devmapper-pool"

NUMBER = re.compile(r"[0-9]{1,19}")
NUMBERS = re.compile(r"[0-9]{1,19}( [0-9]{1,19})*")


class Common(msgspec.Struct, frozen=True, kw_only=True, tag_field="VARIANT", rename="upper"):
    """What both variants record."""

    instance: str = ""
    """The containerd that the pool is for; empty: the default one."""


class LoopRecord(Common, frozen=True, kw_only=True, tag="loop"):
    """A pool on two files. Sizes in bytes."""

    data: str
    meta: str
    """Paths of the files."""
    block_sectors: int
    asked_bytes: tuple[int, ...]
    asked_meta_bytes: tuple[int, ...]
    """Every size that was asked for, in order: the first, and those that pool.grow was told."""
    when_full: Literal["queue", "error"] = "queue"
    threshold: int = 100
    """Percent used at which it grows by itself; 100: never."""
    percent: int = 0
    max_bytes: int = 0
    dir_made: bool | None = None
    """Whether the directory was made for the files; None: earlier versions did not record it."""
    volume: str = ""
    """VG/LV that the files are on, where one was asked for."""
    volume_made: tuple[str, ...] = ()
    """What of that was made with the pool: see `loop.volume.MADE`."""
    making: bool | None = None
    """Whether it was never whole: what is missing of it was not made yet. None: an earlier version wrote the record."""
    volume_uuid: str | None = None
    fs_uuid: str | None = None
    mount: str | None = None
    data_ino: str | None = None
    meta_ino: str | None = None
    kept_inodes: tuple[str, ...] = ()
    """Of metadata that a repair or a restore kept."""
    unfinished_inodes: tuple[str, ...] = ()
    """Of the file that is being made, or that an interrupted run left unfinished."""

    @property
    def dir(self) -> str:
        """The directory of the files."""
        return self.data.rpartition("/")[0] or "/"

    @property
    def files_dir(self) -> str:
        """The same."""
        return self.dir

    @property
    def volume_dir(self) -> str:
        """Where a volume is mounted that goes with the pool; empty: there is none."""
        return self.dir if {"volume", "filesystem"} & set(self.volume_made) else ""

    @property
    def where(self) -> dict[str, str]:
        """What a `Query` is to say of what it stands on."""
        return {"dir": self.dir, "volume": self.volume}

    @property
    def monitored(self) -> bool:
        """Whether a timer of ours lets it grow."""
        return True

    @property
    def block(self) -> int:
        """Bytes in a block."""
        return self.block_sectors * SECTOR

    @property
    def meta_size(self) -> int:
        """The largest metadata that was asked for."""
        return max(self.asked_meta_bytes)

    @property
    def candidate(self) -> str:
        """Where a repair makes new metadata, which then takes the place of the old."""
        return f"{self.meta}.candidate"


class LvmRecord(Common, frozen=True, kw_only=True, tag="direct"):
    """A pool that LVM made. Sizes in bytes."""

    vg: str
    lv: str
    chunk_bytes: int
    dir: str = ""
    """Of containerd's snapshotter."""
    data_percent: int | None = None
    meta_size: str | None = None
    """As it was asked for."""
    asked_bytes: int = 0
    asked_meta_bytes: int = 0
    """What pool.grow was asked for last; 0: nothing."""
    own_group: bool = False
    """Whether the volume group was made for the pool, and goes with it."""
    disks: tuple[str, ...] = ()
    """Serial number or path, and size, of each disk that was taken for it."""
    vg_uuid: str | None = None
    lv_uuid: str | None = None
    pv_uuids: tuple[str, ...] | None = None
    kept_uuids: tuple[str, ...] | None = None
    """What is ours, by LVM's UUIDs; None: an earlier version wrote the record."""

    @property
    def path(self) -> str:
        """As LVM's commands name it: VG/LV."""
        return f"{self.vg}/{self.lv}"

    @property
    def physicals(self) -> tuple[str, ...]:
        """UUIDs of the physical volumes that were made for it, as far as they were recorded."""
        return self.pv_uuids or ()

    @property
    def volumes(self) -> tuple[str, ...]:
        """UUIDs of its volumes: itself, and metadata that a repair or a restore kept, as far as they were recorded."""
        return tuple(uuid for uuid in (self.lv_uuid, *(self.kept_uuids or ())) if uuid)

    @property
    def block(self) -> int:
        """Bytes in a block."""
        return self.chunk_bytes

    @property
    def files_dir(self) -> str:
        """The directory of its files: it has none."""
        return ""

    @property
    def volume_dir(self) -> str:
        """As of a pool on files: it has none."""
        return ""

    @property
    def dir_made(self) -> None:
        """Nobody recorded that."""
        return None

    @property
    def where(self) -> dict[str, str]:
        """What a `Query` is to say of what it stands on."""
        return {"vg": self.vg}

    @property
    def monitored(self) -> bool:
        """Whether a timer of ours lets it grow: LVM's dmeventd does."""
        return False

    @property
    def candidate(self) -> str:
        """Nowhere: LVM makes new metadata and puts it in the place of the old as one change."""
        return ""


Record = LoopRecord | LvmRecord

VARIANTS: dict[str, type[LoopRecord | LvmRecord]] = {"loop": LoopRecord, "direct": LvmRecord}
"""What VARIANT says → the type."""

EARLIER = {"ASKED_BYTES": ("DATA_SECTORS", SECTOR), "ASKED_META_BYTES": ("META_BYTES", 1)}
"""What a loop pool of version 0.1, which could not grow, has in their place, and the bytes in each of those."""


def variant(of: Record) -> str:
    """What the record says in VARIANT, as the inventory does."""
    return str(of.__struct_config__.tag)


def conf(name: str) -> str:
    """Path of a pool's record. Where it exists, the pool is ours."""
    return f"{CONF_DIR}/{name}.conf"


def parse(path: str, text: str) -> Record:
    """The record in the file `path`.

    Raises:
        Failed: it cannot be understood: another variant, a key that is missing, a value that cannot be.
    """
    return read(path, settings(text))


def read(path: str, found: dict[str, str]) -> Record:
    """The record that these lines are, key → value; as in `parse`."""
    kind = VARIANTS.get(found.get("VARIANT", "loop"))  # version 0.1 knew no other
    if kind is None:
        raise _damaged(path, [f"VARIANT is {found['VARIANT']!r:.100}"])
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for field in msgspec.structs.fields(kind):
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
    """Values that lead somewhere else, in a script of root's or in a hint that a person types, or that divide by 0."""
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
    """A value as the type of its field has it; None where nothing is said.

    Raises:
        ValueError: it cannot be; with what it is not.
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
    """A line for each key in which the record of a pool is not the one that is wanted."""
    if type(has) is not type(wants):
        return [f"VARIANT: it has {variant(has)}, requested: {variant(wants)}"]
    pairs = [
        (field.encode_name, getattr(has, field.name), getattr(wants, field.name))
        for field in msgspec.structs.fields(type(has))
    ]
    return [f"{key}: it has {now}, requested: {asked}" for key, now, asked in pairs if now != asked]


def plainly(mount: str) -> str:
    """A mount point as it is recorded: what a shell could take for more than a word is left out."""
    return re.sub(r"[^A-Za-z0-9_.+@:/-]", "_", mount)
