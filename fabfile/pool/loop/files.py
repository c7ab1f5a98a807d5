"""The files of a loop pool that keep it across reboots: its record, its units, and the script that all pools share."""

from __future__ import annotations

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.record import LoopRecord, LvmRecord
from fabfile.instance import Daemon
from fabfile.plan import Change, file
from fabfile.pool import units
from fabfile.pool.loop import identity, volume
from fabfile.pool.loop.spec import LoopSpec, has_meta
from fabfile.render import render


def recorded(have: Facts, name: str) -> LoopRecord | None:
    """Parse the record of a loop pool from the gathered files.

    Args:
        have: facts; the query must have asked for the record's path.
        name: the pool's name.

    Returns:
        The record; None if there is none.

    Raises:
        Refused: the record is that of a direct pool.
    """
    found = units.recorded(have, name)
    if isinstance(found, LvmRecord):
        raise Refused(f"the pool {name} is not on files", f"{units.conf(name)} says that LVM made it: {found.path}")
    return found


def changes(have: Facts, want: LoopSpec, known: dict[str, str] | None = None) -> list[Change]:
    """Plan the files that differ. The record comes first: once it is written, the backing files are known as ours.

    Args:
        have: facts of the machine.
        want: the requested pool.
        known: identities, key of `identity.KEYS` → value, of files that exist already and have no record yet.
    """
    timer_path, monitor_path = units.monitor_paths(want.name)
    words = {"name": want.name, "unit": units.unit(want.name), "script": units.SCRIPT, "seconds": units.MONITOR_SECONDS}
    return [
        *conf_change(have, want, known),
        # A volume's mount point is the directory itself.
        *units.common_changes(have, want.name, want.dir, Daemon(want.instance), links=not record(have, want).volume),
        *file(have, "what lets the pool grow", monitor_path, render("pool/devmapper-pool-monitor.service.j2", **words)),
        *file(
            have,
            f"run its monitor every {units.MONITOR_SECONDS} s",
            timer_path,
            render("pool/devmapper-pool-monitor.timer.j2", **words),
        ),
    ]


def conf_change(have: Facts, want: LoopSpec, there: dict[str, str] | None = None) -> list[Change]:
    """Plan the record, if it differs. Sizes requested earlier stay in it, as does what was created with the pool."""
    conf, before = units.conf(want.name), recorded(have, want.name)
    known = identity.identities(have.files[conf].content) if before else there or {identity.MAKING: "yes"}
    new = render("pool/pool.conf.j2", name=want.name, record=record(have, want), known=known)
    return file(have, f"settings of the pool {want.name}", conf, new)


def record(have: Facts, want: LoopSpec) -> LoopRecord:
    """Build the record of the requested pool, without the identities of its files."""
    before = recorded(have, want.name)
    data, meta = (before.asked_bytes, before.asked_meta_bytes) if before else ((), ())
    name = want.volume or (before.volume if before else "")
    return LoopRecord(
        instance=want.instance,
        data=want.data_file,
        meta=want.meta_file,
        block_sectors=want.block // sizes.SECTOR,
        # hosts.toml may still state an earlier size
        asked_bytes=data if want.data in data else (*data, want.data),
        asked_meta_bytes=meta if before and has_meta(before, want) else (*meta, want.meta),
        when_full=want.when_full,
        threshold=want.threshold,
        percent=want.percent,
        max_bytes=want.most,
        dir_made=before.dir_made if before else have.pool.missing > 0,
        volume=name,
        volume_made=volume.made(have.pool.volume, before, want.name) if name else (),
    )


def grown(have: Facts, name: str, now: LoopRecord, data: int, meta: int) -> list[Change]:
    """Plan to record the sizes that pool.grow was given.

    Args:
        have: facts of the machine.
        name: the pool's name.
        now: its record.
        data: size of the data device in bytes.
        meta: size of the metadata device in bytes.
    """
    new = {
        "ASKED_BYTES": _last(now.asked_bytes, data),
        "ASKED_META_BYTES": _last(now.asked_meta_bytes, meta),
    }
    conf = units.conf(name)
    return file(have, "the pool's size as asked for", conf, units.rewritten(have.files[conf].content, new))


def _last(asked: tuple[int, ...], size: int) -> str:
    return "'" + " ".join(map(str, (*(one for one in asked if one != size), size))) + "'"
