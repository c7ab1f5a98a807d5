"""What is written for a loop pool: its record, its units, and the script that all pools share."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fabfile.facts import Facts
from fabfile.instance import Daemon
from fabfile.plan import Change, file
from fabfile.pool import record, units
from fabfile.pool.limits import Pool
from fabfile.pool.loop import volume
from fabfile.render import render


def settings(want: Pool) -> dict[str, str]:
    """What the settings file of a new pool says, key → value."""
    return units.parse(_conf(want, units.Asked(), (), {}, ""))


def changes(have: Facts, want: Pool, known: dict[str, str] | None = None) -> list[Change]:
    """The files that differ. The settings come first: from then on the data and metadata files are known as ours.

    Args:
        have: the machine.
        want: the pool.
        known: what of it is known by identity, where it is there and not recorded yet; see record.KEYS.
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


def conf_change(have: Facts, want: Pool, there: dict[str, str] | None = None) -> list[Change]:
    """The settings, if they differ; sizes that were asked for earlier stay in them, and so does what we made."""
    now = have.files.get(units.conf(want.name))
    before = units.parse(now.content) if now else {}
    sizes = units.asked(before) if now else units.Asked()
    want = msgspec.structs.replace(want, volume=want.volume or before.get("VOLUME", ""))
    made = volume.made(have.pool.volume, before) if want.volume else ()
    known = record.kept(before) if now else there or {record.MAKING: "yes"}
    dir_made = before.get("DIR_MADE", "") if now else "yes" if have.pool.missing else "no"
    return file(
        have, f"settings of the pool {want.name}", units.conf(want.name), _conf(want, sizes, made, known, dir_made)
    )


def grown(have: Facts, name: str, data: int, meta: int) -> list[Change]:
    """The change, if any, that records sizes as asked for in the settings of a pool that has them."""
    now = have.files[units.conf(name)].content
    sizes = units.asked(units.parse(now)).also(data, meta)
    new = {"ASKED_BYTES": f"'{_words(sizes.data)}'", "ASKED_META_BYTES": f"'{_words(sizes.meta)}'"}
    return file(have, "the pool's size as asked for", units.conf(name), units.rewritten(now, new))


def _words(sizes: tuple[int, ...]) -> str:
    return " ".join(map(str, sizes))


def _conf(want: Pool, before: units.Asked, made: Sequence[str], known: dict[str, str], dir_made: str) -> str:
    # The order in which sizes were asked for stays: what hosts.toml still says is not the latest.
    data = before.data if want.data in before.data else (*before.data, want.data)
    meta = before.meta if before.has_meta(want) else (*before.meta, want.meta)
    return render(
        "pool/pool.conf.j2",
        name=want.name,
        instance=want.instance,
        volume=want.volume,
        volume_made=" ".join(made),
        dir_made=dir_made,
        known=known,
        data=want.data_file,
        meta=want.meta_file,
        block_sectors=want.block // 512,
        asked=_words(data),
        asked_meta=_words(meta),
        when_full=want.when_full,
        threshold=want.threshold,
        percent=want.percent,
        most=want.most,
    )
