"""What keeps a pool alive across reboots: names and paths of record, script, units and modules."""

from __future__ import annotations

import msgspec

from fabfile import keyvalue
from fabfile.pool import limits
from fabfile.pool.limits import META_MOST, Pool
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


def rewritten(text: str, new: dict[str, str]) -> str:
    """A settings file with other values, quoted for the shell, in the lines of the keys of `new`."""
    lines = text.splitlines()
    keys = [line.partition("=")[0] for line in lines]
    return "".join(f"{key}={new[key]}\n" if key in new else f"{line}\n" for key, line in zip(keys, lines, strict=True))
