"""The files that keep a loop pool alive across reboots and let it grow: settings, script, units, modules."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fabfile import keyvalue
from fabfile.facts import Facts
from fabfile.instance import Daemon
from fabfile.plan import Change, file
from fabfile.pool import limits, record
from fabfile.pool.limits import META_MOST, Pool
from fabfile.pool.loop import volume
from fabfile.render import render
from fabfile.sizes import SECTOR

CONF_DIR = "/etc/devmapper-pool"
SCRIPT = "/usr/local/libexec/devmapper-pool"
MODULES = "/etc/modules-load.d/devmapper-pool.conf"
RUN_DIR = "/run/devmapper-pool"
"""The pools' locks, and what their monitors warn of."""

MONITOR_SECONDS = 10
"""The kernel queues writes to a full pool for 60 s; a pool that is filled faster than a step in 10 s waits for one."""


def conf(name: str) -> str:
    """Path of a pool's settings. Where it exists, the pool is ours."""
    return f"{CONF_DIR}/{name}.conf"


def unit(name: str) -> str:
    """Name of a pool's unit."""
    return f"devmapper-pool@{name}.service"


def unit_path(name: str) -> str:
    """Path of a pool's unit."""
    return f"/etc/systemd/system/{unit(name)}"


def monitor(name: str) -> str:
    """Name of the timer that lets a pool grow."""
    return f"devmapper-pool-monitor@{name}.timer"


def monitor_service(name: str) -> str:
    """Name of the unit that the timer starts."""
    return f"devmapper-pool-monitor@{name}.service"


def monitor_paths(name: str) -> tuple[str, str]:
    """Paths of the timer and of the service that it starts."""
    path = f"/etc/systemd/system/{monitor(name)}"
    return path, path.removesuffix("timer") + "service"


def paths(name: str) -> tuple[str, ...]:
    """All of them."""
    return conf(name), SCRIPT, MODULES, unit_path(name), *monitor_paths(name)


def script() -> str:
    """The script that all pools share."""
    return render("pool/devmapper-pool.sh.j2", conf_dir=CONF_DIR, run_dir=RUN_DIR, meta_most=META_MOST)


def settings(want: Pool) -> dict[str, str]:
    """What the settings file of a new pool says, key → value."""
    return parse(_conf(want, Asked(), (), {}, ""))


class Asked(msgspec.Struct, frozen=True):
    """Every size that was asked for, in bytes, in order: the first, and those that pool.grow was told."""

    data: tuple[int, ...] = ()
    meta: tuple[int, ...] = ()

    def has_meta(self, want: Pool) -> bool:
        """Whether that much metadata was asked for, or computed for that pool by an earlier version."""
        computed = want.meta == limits.metadata_size(want.data, want.block)
        return want.meta in self.meta or (computed and limits.earlier_size(want.data, want.block) in self.meta)

    def also(self, data: int, meta: int) -> Asked:
        """With these as the last ones."""
        return Asked(
            (*(size for size in self.data if size != data), data), (*(size for size in self.meta if size != meta), meta)
        )


def asked(settings: dict[str, str]) -> Asked:
    """The sizes in the settings of a pool; version 0.1 had one, in DATA_SECTORS and META_BYTES."""
    if "ASKED_BYTES" not in settings:
        return Asked((int(settings["DATA_SECTORS"]) * SECTOR,), (int(settings["META_BYTES"]),))
    data, meta = (tuple(map(int, settings[key].split())) for key in ("ASKED_BYTES", "ASKED_META_BYTES"))
    return Asked(data, meta)


def parse(text: str) -> dict[str, str]:
    """Key → value of a settings file."""
    return keyvalue.settings(text)


def changes(have: Facts, want: Pool, known: dict[str, str] | None = None) -> list[Change]:
    """The files that differ. The settings come first: from then on the data and metadata files are known as ours.

    Args:
        have: the machine.
        want: the pool.
        known: what of it is known by identity, where it is there and not recorded yet; see record.KEYS.
    """
    before = Daemon(want.instance).unit
    service = render("pool/devmapper-pool.service.j2", name=want.name, dir=want.dir, script=SCRIPT, before=before)
    timer_path, monitor_path = monitor_paths(want.name)
    words = {"name": want.name, "unit": unit(want.name), "script": SCRIPT, "seconds": MONITOR_SECONDS}
    return [
        *conf_change(have, want, known),
        *file(have, "the script that activates pools", SCRIPT, script(), mode=0o755),
        *file(have, "kernel modules at boot", MODULES, "loop\ndm_thin_pool\n"),
        *file(have, "the pool's unit, before containerd at every boot", unit_path(want.name), service),
        *file(have, "what lets the pool grow", monitor_path, render("pool/devmapper-pool-monitor.service.j2", **words)),
        *file(
            have,
            f"a look at it every {MONITOR_SECONDS} s",
            timer_path,
            render("pool/devmapper-pool-monitor.timer.j2", **words),
        ),
    ]


def conf_change(have: Facts, want: Pool, there: dict[str, str] | None = None) -> list[Change]:
    """The settings, if they differ; sizes that were asked for earlier stay in them, and so does what we made."""
    now = have.files.get(conf(want.name))
    before = parse(now.content) if now else {}
    sizes = asked(before) if now else Asked()
    want = msgspec.structs.replace(want, volume=want.volume or before.get("VOLUME", ""))
    made = volume.made(have.pool.volume, before) if want.volume else ()
    known = record.kept(before) if now else there or {record.MAKING: "yes"}
    dir_made = before.get("DIR_MADE", "") if now else "yes" if have.pool.missing else "no"
    return file(have, f"settings of the pool {want.name}", conf(want.name), _conf(want, sizes, made, known, dir_made))


def grown(have: Facts, name: str, data: int, meta: int) -> list[Change]:
    """The change, if any, that records sizes as asked for in the settings of a pool that has them."""
    now = have.files[conf(name)].content
    sizes = asked(parse(now)).also(data, meta)
    new = {"ASKED_BYTES": f"'{_words(sizes.data)}'", "ASKED_META_BYTES": f"'{_words(sizes.meta)}'"}
    return file(have, "the pool's size as asked for", conf(name), rewritten(now, new))


def rewritten(text: str, new: dict[str, str]) -> str:
    """A settings file with other values, quoted for the shell, in the lines of the keys of `new`."""
    lines = text.splitlines()
    keys = [line.partition("=")[0] for line in lines]
    return "".join(f"{key}={new[key]}\n" if key in new else f"{line}\n" for key, line in zip(keys, lines, strict=True))


def _words(sizes: tuple[int, ...]) -> str:
    return " ".join(map(str, sizes))


def _conf(want: Pool, before: Asked, made: Sequence[str], known: dict[str, str], dir_made: str) -> str:
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
