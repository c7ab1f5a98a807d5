"""Commands that repeat the creation of an existing pool unchanged, which starts what is stopped, or remove it."""

from __future__ import annotations

from collections.abc import Sequence

from fabfile import hints
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.record import LvmRecord, Record
from fabfile.host import Pool
from fabfile.option import options
from fabfile.pool.health import stated
from fabfile.pool.ownership import owner


def command(name: str, recorded: Record) -> str:
    """The pool.loop or pool.direct command line that created an existing pool, without what the inventory says.

    Args:
        name: the pool's name.
        recorded: its record.
    """
    task = "pool.direct" if isinstance(recorded, LvmRecord) else "pool.loop"
    said = [
        word
        for key, value in stated.unlike_inventory(name, recorded).items()
        if key not in ("variant", "name") and value != ""
        for word in (options(Pool)[key].flag, value)
    ]
    return hints.command(task, owner(recorded), name, *said)


def reset(name: str, instance: str) -> str:
    """The command line of pool.reset that removes a pool with everything on it."""
    return hints.command("pool.reset", instance, name, "--yes")


def keep(name: str, recorded: Record) -> str:
    """How to keep an existing pool that was requested otherwise, also at the next deploy.

    Args:
        name: the pool's name.
        recorded: its record.
    """
    settings = stated.unlike_inventory(name, recorded)
    lasting = f", and {stated.state(recorded.instance, settings)}" if settings else ""
    return f"to keep it: {command(name, recorded)}{lasting}"


def differs(name: str, instance: str, recorded: Record, differences: Sequence[str], *, another: str) -> Refused:
    """The error for a pool that exists with other parameters than requested.

    Args:
        name: the pool's name.
        instance: the containerd instance that it was requested for.
        recorded: the record of the existing pool.
        differences: one line for each parameter.
        another: the option that names another pool, `--name` or `--lv`.
    """
    hint = f"{keep(name, recorded)}; to remove it: {reset(name, instance)}; or choose another {another}"
    return Refused(f"the pool {name} exists with other parameters", "\n".join(differences), hint)


def stopped(have: Facts, name: str) -> str:
    """Return the unit of the containerd that is configured for a pool of ours, if it is loaded and not running.

    Activating the pool does not start it again. Empty: it runs, or there is none.
    """
    recorded = have.instances.pools.get(name)
    if recorded is None:
        return ""
    daemon = owner(recorded)
    config, unit = have.instances.configs.get(daemon.config_path), have.units.of(daemon.unit)
    on = config is not None and config.pool == name
    return daemon.unit if on and unit.load == "loaded" and unit.active in ("inactive", "failed") else ""
