"""The command that asks for a pool of ours as it was made, so that it changes nothing and starts what does not run."""

from __future__ import annotations

from collections.abc import Mapping

from fabfile import hints, inventory, sizes
from fabfile.facts import Facts
from fabfile.instance import DEFAULT
from fabfile.pool import limits, units
from fabfile.pool.ownership import directory, owner


def command(name: str, settings: Mapping[str, str]) -> str:
    """pool.loop or pool.direct, with what the inventory says otherwise, or not at all.

    Args:
        name: of the pool.
        settings: what its settings file says.
    """
    recorded = dict(settings)
    daemon = owner(recorded)
    stock = inventory.on_instance(hints.door().host, daemon.instance or DEFAULT).pool
    if recorded.get("VARIANT") == "direct":
        made = {"vg": recorded["VG"], "pool": recorded["LV"], "data-percent": recorded.get("DATA_PERCENT", "")}
        made |= {"meta-size": recorded.get("META_SIZE", "")}
        if chunk := recorded.get("CHUNK_BYTES"):
            made["chunk-size"] = sizes.show(int(chunk))
        return hints.command("pool.direct", daemon, "", *_options(made, stock))
    asked = units.asked(recorded)
    block = int(recorded["BLOCK_SECTORS"]) * sizes.SECTOR
    data, meta = asked.data[-1], asked.meta[-1]
    made = {
        "dir": directory(recorded),
        "size": sizes.show(data),
        "meta-size": "" if meta == limits.metadata_size(data, block) else sizes.show(meta),
        "block-size": sizes.show(block),
    }
    return hints.command("pool.loop", daemon, name, *_options(made, stock))


def stopped(have: Facts, name: str) -> str:
    """The unit of the containerd that is set up on a pool of ours, where it does not run: no pool brings it back."""
    daemon = owner(have.instances.pools.get(name, {}))
    config, unit = have.instances.configs.get(daemon.config), have.units.of(daemon.unit)
    on = config is not None and config.pool == name
    return daemon.unit if on and unit.load == "loaded" and unit.active in ("inactive", "failed") else ""


def _options(made: Mapping[str, str], stock: inventory.Pool) -> list[str]:
    said = []
    for option, value in made.items():
        if value and value != str(getattr(stock, option.replace("-", "_"))):
            said += [f"--{option}", value]
    return said
