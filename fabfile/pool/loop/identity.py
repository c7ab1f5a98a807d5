"""Which files, file system and volume are a loop pool's, as its settings record it: known by identity, never by name.

Device numbers change from one boot to the next; the UUID of a file system and the inode of a file on it do not.
"""

from __future__ import annotations

import msgspec

from fabfile import keyvalue
from fabfile.facts import Facts
from fabfile.facts.record import LoopRecord, plainly
from fabfile.plan import Change, Command, words
from fabfile.pool.safety import gate

MAKING = "MAKING"
"""`yes` from the first write to a new pool's settings until all of it is there, `no` after that."""

FILES = ("FS_UUID", "MOUNT", "DATA_INO", "META_INO")
"""The file system that the files are on, where it is mounted, and the inodes of both."""

KEYS = (MAKING, "VOLUME_UUID", *FILES, "KEPT_INODES", "UNFINISHED_INODES")
"""All that is recorded, in the order in which a new pool's settings have it; what repairs add comes last."""


def kept(text: str) -> dict[str, str]:
    """What a settings file records of it, key → value, in the order of the file."""
    return {key: value for key, value in keyvalue.settings(text).items() if key in KEYS}


def write(conf: str, values: dict[str, str]) -> str:
    """Shell, with the gate's functions, that writes what became known into a settings file."""
    return "\n".join(words("record", conf, key, value) for key, value in values.items())


def now(have: Facts, volume: str) -> dict[str, str] | None:
    """The same keys for what is there; None where a file is missing."""
    pool = have.pool
    if not (pool.data and pool.meta and pool.place):
        return None
    found = {"FS_UUID": pool.place.uuid, "MOUNT": plainly(pool.place.target)}
    found |= {"DATA_INO": str(pool.data.inode), "META_INO": str(pool.meta.inode)}
    return ({"VOLUME_UUID": pool.volume.uuid} if volume and pool.volume else {}) | found


def differ(recorded: LoopRecord, there: dict[str, str]) -> bool:
    """Whether what is there is not all recorded, as that of a pool that is whole."""
    whole = {key.lower(): value for key, value in there.items()}
    return recorded != msgspec.structs.replace(recorded, making=False, **whole)


def changes(have: Facts, recorded: LoopRecord | None, conf: str, dir: str, volume: str) -> list[Change]:
    """Record what the files are, if the settings do not say so yet.

    Args:
        have: the machine; files of it that are missing are there by the time this is done.
        recorded: the settings, where there are some.
        conf: path of them.
        dir: the directory of the files.
        volume: VG/LV that it is on, if it is on one that is in the settings.
    """
    there = now(have, volume)
    if there and recorded and not differ(recorded, there):
        return []
    find = f"findmnt -n -r -T {words(dir)} -o"
    ask = {
        "FS_UUID": f"{find} UUID",
        "MOUNT": f"{find} TARGET | tr -c 'A-Za-z0-9_.+@:/\\n-' _",
        "DATA_INO": f"stat -c %i {words(f'{dir}/data')}",
        "META_INO": f"stat -c %i {words(f'{dir}/meta')}",
    }
    if volume:
        ask["VOLUME_UUID"] = f"ask lvs --noheadings -o lv_uuid {words(volume)}"
    lines = [f'record {words(conf, key)} "$({command})"' for key, command in ask.items()]
    lines.append(words("record", conf, MAKING, "no"))
    return [Command("record which files are the pool's", "\n".join(lines), gate.functions())]
