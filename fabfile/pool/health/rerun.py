"""Commands that repeat the creation of an existing pool unchanged, which starts what is stopped, or remove it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fabfile import hints, inventory, sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.record import LvmRecord, Record
from fabfile.host import Pool
from fabfile.instance import DEFAULT
from fabfile.pool import limits
from fabfile.pool.ownership import owner


def command(name: str, recorded: Record) -> str:
    """The pool.loop or pool.direct command line that created an existing pool, without what the inventory says.

    Args:
        name: the pool's name.
        recorded: its record.
    """
    daemon = owner(recorded)
    stock = inventory.on_instance(hints.invocation().host, daemon.instance or DEFAULT).pool
    if isinstance(recorded, LvmRecord):
        made = {"vg": recorded.vg, "lv": recorded.lv, "data-percent": str(recorded.data_percent or "")}
        made |= {"meta-size": recorded.meta_size or "", "chunk-size": sizes.show(recorded.chunk_bytes)}
        return hints.command("pool.direct", daemon, "", *_options(made, stock))
    data, meta = recorded.asked_bytes[-1], recorded.asked_meta_bytes[-1]
    made = {
        "dir": recorded.dir,
        "size": sizes.show(data),
        "meta-size": "" if meta == limits.metadata_size(data, recorded.block) else sizes.show(meta),
        "block-size": sizes.show(recorded.block),
    }
    return hints.command("pool.loop", daemon, name, *_options(made, stock))


def reset(name: str, instance: str) -> str:
    """The command line of pool.reset that removes a pool with everything on it."""
    return hints.command("pool.reset", instance, name, "--yes")


def differs(name: str, instance: str, recorded: Record, differences: Sequence[str], *, another: str) -> Refused:
    """The error for a pool that exists with other parameters than requested.

    Args:
        name: the pool's name.
        instance: the containerd instance that it was requested for.
        recorded: the record of the existing pool.
        differences: one line for each parameter.
        another: the option that names another pool, `--name` or `--lv`.
    """
    keep, remove = command(name, recorded), reset(name, instance)
    hint = f"to keep it: {keep}; to remove it: {remove}; or choose another {another}"
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


def _options(made: Mapping[str, str], stock: Pool) -> list[str]:
    said = []
    for option, value in made.items():
        if value and value != str(getattr(stock, option.replace("-", "_"))):
            said += [f"--{option}", value]
    return said
