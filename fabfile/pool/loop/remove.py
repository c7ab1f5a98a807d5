"""Removal of what is under a loop pool: its files, and what was created of their volume."""

from __future__ import annotations

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.pool import Backing
from fabfile.facts.record import LoopRecord
from fabfile.plan import Change, Command
from fabfile.pool import units
from fabfile.pool.health import missing, rerun, visibility
from fabfile.pool.loop import volume
from fabfile.pool.lvm import give_back
from fabfile.pool.safety import gate
from fabfile.shell import words


def plan(have: Facts, name: str, record: LoopRecord, force: bool) -> list[Change]:
    """Plan the removal. The directory at which the volume is mounted goes later, with the record.

    Args:
        have: facts of the machine.
        name: the pool's name.
        record: its record as it was before the removal.
        force: unused; whatever uses the pool was refused or ended before.

    Raises:
        Refused: a file or volume is not the recorded one, or LVM ignores the volume's disks.
    """
    conf = units.conf(name)
    return [*_files(have, name, record), *volume.undone(have, record, name, conf, record.dir)]


def _files(have: Facts, name: str, record: LoopRecord) -> list[Change]:
    """Remove the files that are the pool's and can be reached."""
    now = have.pool.volume
    if now and now.hidden:
        group = (record.volume or "").partition("/")[0]
        raise give_back.refused_hidden(name, record, *visibility.hiding(now.hides, now.hidden, group))
    unreached = [loss for loss in missing.losses(have, name) if loss.what in ("volume", "mount")]
    if unreached or not (units.conf(name) in have.files or have.pool.data or have.pool.meta):
        return []
    deeds, used = [], 0
    for path, part, inode in (
        (record.data, have.pool.data, record.data_ino),
        (record.meta, have.pool.meta, record.meta_ino),
    ):
        if part:
            _refuse_other(have, name, record, path, part, inode)
            deeds.append(gate.remove_file("", path, f"{part.device}:{part.inode}"))
            used += part.allocated
    why = f"remove {record.data} and {record.meta}, {sizes.human(used)}"
    return [gate.joined(why, [*deeds, _beside(record)])]


def _beside(record: LoopRecord) -> Command:
    """Remove the metadata that repairs kept and what interrupted runs left, by the recorded inodes."""
    rescued = (inode for inode in (record.data_ino, record.meta_ino) if inode)  # recorded before a rescue has ended
    known = " ".join((*record.kept_inodes, *record.unfinished_inodes, *rescued))
    ends = ("new", "rescued")
    unfinished = words(*(f"{file}.{end}" for end in ends for file in (record.data, record.meta)), record.candidate)
    return Command("", f"{words('remove_ours', known)} {words(record.meta)}.[0-9]*Z {unfinished}")


def _refuse_other(have: Facts, name: str, record: LoopRecord, path: str, file: Backing, recorded: str | None) -> None:
    """Refuse to remove a file that is not the recorded one.

    Raises:
        Refused: with both inodes.
    """
    up = have.pool.table is not None and bool(file.loops)
    if recorded and recorded != str(file.inode) and not up:
        raise Refused(
            f"{path} is not the file that the pool {name} was made with",
            f"its inode is {file.inode}, the record has {recorded}; it is left alone",
            hint="move it away and run it again; or, if it was brought back, start the pool with it: "
            + rerun.command(name, record),
        )
