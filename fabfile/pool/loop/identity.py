"""The identities of a loop pool's files, file system and volume, as recorded; nothing is ours by its name.

Device numbers change from one boot to the next; the UUID of a file system and the inodes of its files do not.
"""

from __future__ import annotations

import msgspec

from fabfile import keyvalue
from fabfile.facts import Facts
from fabfile.facts.record import LoopRecord, plainly
from fabfile.plan import Change, Command
from fabfile.pool.safety import gate
from fabfile.shell import words

MAKING = "MAKING"
"""`yes` from the first write to a new record until the pool is complete, `no` from then on."""

FILES = ("FS_UUID", "MOUNT", "DATA_INO", "META_INO")
"""UUID and mount point of the file system that the files are on, and the inodes of both files."""

KEYS = (MAKING, "VOLUME_UUID", *FILES, "KEPT_INODES", "UNFINISHED_INODES")
"""All keys of the record that identify something, in its order; the last two are for files beside the pool's own."""


def identities(text: str) -> dict[str, str]:
    """Return the identities in the text of a record, key → value, in the order of the text."""
    return {key: value for key, value in keyvalue.settings(text).items() if key in KEYS}


def write(conf: str, values: dict[str, str]) -> str:
    """Shell that writes identities into a record; it needs the gate's functions."""
    return "\n".join(words("record", conf, key, value) for key, value in values.items())


def now(have: Facts, volume: str) -> dict[str, str] | None:
    """Return the identities of the existing files, by the keys of the record.

    Args:
        have: facts of the machine.
        volume: VG/LV that the files are on; empty: none.

    Returns:
        Key → value; None if a file is missing.
    """
    pool = have.pool
    if not (pool.data and pool.meta and pool.place):
        return None
    found = {"FS_UUID": pool.place.uuid, "MOUNT": plainly(pool.place.target)}
    found |= {"DATA_INO": str(pool.data.inode), "META_INO": str(pool.meta.inode)}
    return ({"VOLUME_UUID": pool.volume.uuid} if volume and pool.volume else {}) | found


def differ(recorded: LoopRecord, there: dict[str, str]) -> bool:
    """Return whether the record lacks an identity, has another one, or does not call the pool complete."""
    whole = {key.lower(): value for key, value in there.items()}
    return recorded != msgspec.structs.replace(recorded, making=False, **whole)


def changes(have: Facts, recorded: LoopRecord | None, conf: str, dir: str, volume: str) -> list[Change]:
    """Plan to record the identities of the files, unless the record has them.

    Args:
        have: facts of the machine; files that are missing will exist by the time the change is made.
        recorded: the record, if there is one.
        conf: path of the record.
        dir: directory of the files.
        volume: VG/LV that the directory is on; empty: none that the record names.
    """
    there = now(have, volume)
    if there and recorded and not differ(recorded, there):
        return []
    find = f"findmnt -n -r -T {words(dir)} -o"
    seen = "tail -n 1"  # of mounts on each other
    ask = {
        "FS_UUID": f"{find} UUID | {seen}",
        "MOUNT": f"{find} TARGET | {seen} | tr -c 'A-Za-z0-9_.+@:/\\n-' _",
        "DATA_INO": f"stat -c %i {words(f'{dir}/data')}",
        "META_INO": f"stat -c %i {words(f'{dir}/meta')}",
    }
    if volume:
        ask["VOLUME_UUID"] = f"ask lvs --noheadings -o lv_uuid {words(volume)}"
    lines = [f'record {words(conf, key)} "$({command})"' for key, command in ask.items()]
    lines.append(words("record", conf, MAKING, "no"))
    return [Command("record which files are the pool's", "\n".join(lines), gate.functions())]
