"""What keeps a pool alive across reboots: names and paths of record, script, units and modules."""

from __future__ import annotations

from fabfile.facts import Facts, record
from fabfile.facts.record import CONF_DIR as CONF_DIR
from fabfile.facts.record import Record
from fabfile.facts.record import conf as conf
from fabfile.pool.limits import META_MOST
from fabfile.render import render

SCRIPT = "/usr/local/libexec/devmapper-pool"
MODULES = "/etc/modules-load.d/devmapper-pool.conf"
RUN_DIR = "/run/devmapper-pool"
"""The pools' locks, and what their monitors warn of."""

MONITOR_SECONDS = 10
"""The kernel queues writes to a full pool for 60 s; a pool that is filled faster than a step in 10 s waits for one."""


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


def kept_by(of: Record, name: str) -> tuple[str, ...]:
    """Those without which a pool does not come up at the next boot: dmeventd watches one of LVM's."""
    monitors = monitor_paths(name) if of.monitored else ()
    return conf(name), SCRIPT, MODULES, unit_path(name), *monitors


def script() -> str:
    """The script that all pools share."""
    return render("pool/devmapper-pool.sh.j2", conf_dir=CONF_DIR, run_dir=RUN_DIR, meta_most=META_MOST)


def recorded(have: Facts, name: str) -> Record | None:
    """The record of a pool whose file was asked for; None where it is not ours.

    Raises:
        Failed: it cannot be understood.
    """
    there = have.files.get(conf(name))
    return record.parse(conf(name), there.content) if there else None


def rewritten(text: str, new: dict[str, str]) -> str:
    """A settings file with other values, quoted for the shell, in the lines of the keys of `new`."""
    lines = text.splitlines()
    keys = [line.partition("=")[0] for line in lines]
    return "".join(f"{key}={new[key]}\n" if key in new else f"{line}\n" for key, line in zip(keys, lines, strict=True))
