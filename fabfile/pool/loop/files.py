"""What is written for a loop pool: its record, its units, and the script that all pools share."""

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
    """The record of a pool on files; None where there is none.

    Raises:
        Refused: it is that of another variant.
    """
    found = units.recorded(have, name)
    if isinstance(found, LvmRecord):
        raise Refused(f"the pool {name} is not on files", f"{units.conf(name)} says that LVM made it: {found.path}")
    return found


def changes(have: Facts, want: LoopSpec, known: dict[str, str] | None = None) -> list[Change]:
    """The files that differ. The settings come first: from then on the data and metadata files are known as ours.

    Args:
        have: the machine.
        want: the pool.
        known: what of it is known by identity, where it is there and not recorded yet; see identity.KEYS.
    """
    before = Daemon(want.instance).unit
    service = render("pool/devmapper-pool.service.j2", name=want.name, dir=want.dir, script=units.SCRIPT, before=before)
    timer_path, monitor_path = units.monitor_paths(want.name)
    words = {"name": want.name, "unit": units.unit(want.name), "script": units.SCRIPT, "seconds": units.MONITOR_SECONDS}
    return [
        *conf_change(have, want, known),
        *file(have, "the script that activates pools", units.SCRIPT, units.script(), mode=0o755),
        *file(have, "kernel modules at boot", units.MODULES, "loop\ndm_thin_pool\n"),
        *file(have, "the pool's unit, before containerd at every boot", units.unit_path(want.name), service),
        *file(have, "what lets the pool grow", monitor_path, render("pool/devmapper-pool-monitor.service.j2", **words)),
        *file(
            have,
            f"run its monitor every {units.MONITOR_SECONDS} s",
            timer_path,
            render("pool/devmapper-pool-monitor.timer.j2", **words),
        ),
    ]


def conf_change(have: Facts, want: LoopSpec, there: dict[str, str] | None = None) -> list[Change]:
    """The settings, if they differ; sizes that were asked for earlier stay in them, and so does what we made."""
    conf, before = units.conf(want.name), recorded(have, want.name)
    known = identity.kept(have.files[conf].content) if before else there or {identity.MAKING: "yes"}
    new = render("pool/pool.conf.j2", name=want.name, record=record(have, want), known=known)
    return file(have, f"settings of the pool {want.name}", conf, new)


def record(have: Facts, want: LoopSpec) -> LoopRecord:
    """What the settings are to say, but for what identifies the files."""
    before = recorded(have, want.name)
    data, meta = (before.asked_bytes, before.asked_meta_bytes) if before else ((), ())
    name = want.volume or (before.volume if before else "")
    return LoopRecord(
        instance=want.instance,
        data=want.data_file,
        meta=want.meta_file,
        block_sectors=want.block // sizes.SECTOR,
        # The order in which sizes were asked for stays: what hosts.toml still says is not the latest.
        asked_bytes=data if want.data in data else (*data, want.data),
        asked_meta_bytes=meta if before and has_meta(before, want) else (*meta, want.meta),
        when_full=want.when_full,
        threshold=want.threshold,
        percent=want.percent,
        max_bytes=want.most,
        dir_made=before.dir_made if before else have.pool.missing > 0,
        volume=name,
        volume_made=volume.made(have.pool.volume, before) if name else (),
    )


def grown(have: Facts, name: str, now: LoopRecord, data: int, meta: int) -> list[Change]:
    """The change, if any, that records sizes as the last that were asked for.

    Args:
        have: the machine.
        name: of the pool.
        now: its record.
        data: bytes.
        meta: bytes.
    """
    new = {
        "ASKED_BYTES": _last(now.asked_bytes, data),
        "ASKED_META_BYTES": _last(now.asked_meta_bytes, meta),
    }
    conf = units.conf(name)
    return file(have, "the pool's size as asked for", conf, units.rewritten(have.files[conf].content, new))


def _last(asked: tuple[int, ...], size: int) -> str:
    return "'" + " ".join(map(str, (*(one for one in asked if one != size), size))) + "'"
