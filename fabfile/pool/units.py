"""Names, paths and contents of what starts a pool at boot: record, script, units and kernel modules."""

from __future__ import annotations

from fabfile.facts import Facts, record
from fabfile.facts.record import CONF_DIR as CONF_DIR
from fabfile.facts.record import Record
from fabfile.facts.record import conf as conf
from fabfile.instance import Daemon
from fabfile.plan import Change, file
from fabfile.pool.limits import META_MOST
from fabfile.render import render

SCRIPT = "/usr/local/libexec/devmapper-pool"
MODULES = "/etc/modules-load.d/devmapper-pool.conf"
RUN_DIR = "/run/devmapper-pool"
"""Directory of the pools' locks and of the warnings of their monitors."""

MONITOR_SECONDS = 10
"""Seconds between two runs of the monitor. The kernel queues writes to a full pool for 60 s, long enough for a run."""


def unit(name: str) -> str:
    """Name of the unit that activates a pool."""
    return f"devmapper-pool@{name}.service"


def unit_path(name: str) -> str:
    """Path of the unit that activates a pool."""
    return f"/etc/systemd/system/{unit(name)}"


def monitor(name: str) -> str:
    """Name of the timer that lets a loop pool grow."""
    return f"devmapper-pool-monitor@{name}.timer"


def monitor_service(name: str) -> str:
    """Name of the service that the timer starts."""
    return f"devmapper-pool-monitor@{name}.service"


def monitor_paths(name: str) -> tuple[str, str]:
    """Paths of the timer and of the service that it starts."""
    path = f"/etc/systemd/system/{monitor(name)}"
    return path, path.removesuffix("timer") + "service"


def paths(name: str) -> tuple[str, ...]:
    """Paths of all files that a pool may have."""
    return conf(name), SCRIPT, MODULES, unit_path(name), *monitor_paths(name)


def kept_by(made: Record, name: str) -> tuple[str, ...]:
    """Paths of the files that a pool needs at the next boot; a direct pool has no monitor, as dmeventd watches it."""
    monitors = monitor_paths(name) if made.monitored else ()
    return conf(name), SCRIPT, MODULES, unit_path(name), *monitors


def script() -> str:
    """The script that all pools share."""
    return render("pool/devmapper-pool.sh.j2", conf_dir=CONF_DIR, run_dir=RUN_DIR, meta_most=META_MOST)


def script_changes(have: Facts, what_for: str) -> list[Change]:
    """Plan the script that all pools share.

    Args:
        have: facts of the machine.
        what_for: what it does, in the plan: `activates` or `deactivates`.
    """
    return file(have, f"the script that {what_for} pools", SCRIPT, script(), mode=0o755)


def common_changes(
    have: Facts, name: str, dir: str, daemon: Daemon, after: str = "", *, links: bool = True
) -> list[Change]:
    """Plan the files that a pool of either variant needs at the next boot, beside its record.

    Args:
        have: facts of the machine.
        name: the pool's name.
        dir: directory of its containerd's databases.
        daemon: the containerd that is started after it.
        after: other units that are started before it.
        links: wait also for the mount that symbolic links in `dir` lead to.
    """
    service = render(
        "pool/devmapper-pool.service.j2",
        name=name,
        dir=dir,
        mount=_mount(have, dir) if links else "",
        script=SCRIPT,
        before=daemon.unit,
        after=after,
    )
    return [
        *script_changes(have, "activates"),
        *file(have, "kernel modules at boot", MODULES, "loop\ndm_thin_pool\n"),
        *file(have, "the pool's unit, before containerd at every boot", unit_path(name), service),
    ]


def _mount(have: Facts, dir: str) -> str:
    """The mount point, quoted for a unit, that `dir` is on only by a symbolic link; empty: there is none.

    systemd follows no links, and a mount with `nofail` may be later than local-fs.target.
    """
    target = have.pool.place.target.replace(r"\x20", " ") if have.pool.place else "/"
    if f"{dir}/".startswith(f"{target.rstrip('/')}/"):
        return ""
    target = target.replace("%", "%%")
    return f'"{target}"' if " " in target else target


def recorded(have: Facts, name: str) -> Record | None:
    """Parse the record of a pool from the gathered files.

    Args:
        have: facts; the query must have asked for the record's path.
        name: the pool's name.

    Returns:
        The record; None if this tool does not manage the pool.

    Raises:
        Failed: the record is damaged.
    """
    there = have.files.get(conf(name))
    return record.parse(conf(name), there.content) if there else None


def rewritten(text: str, new: dict[str, str]) -> str:
    """Return the text of a record with the values of some keys replaced.

    Args:
        text: `KEY=value` lines.
        new: key → value, already quoted for the shell; keys that `text` lacks are ignored.
    """
    lines = text.splitlines()
    keys = [line.partition("=")[0] for line in lines]
    return "".join(f"{key}={new[key]}\n" if key in new else f"{line}\n" for key, line in zip(keys, lines, strict=True))
