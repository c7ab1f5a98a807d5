"""Traits by which hosts that should be alike are compared: versions, and the size and settings of the pool."""

from __future__ import annotations

from fabfile import sizes
from fabfile.facts import Facts
from fabfile.pool.limits import META_BLOCK

RECORDED = {"THRESHOLD": "pool.threshold", "PERCENT": "pool.percent", "MAX_BYTES": "pool.max_size"}
"""Key in a pool's record → the key of hosts.toml that sets it."""


def of(have: Facts, pool: str) -> dict[str, str]:
    """Return the traits of a host, by name. It has the traits of a pool only if it has the pool.

    Args:
        have: facts of the machine.
        pool: name of the pool that `have.pool` is about.
    """
    found = {"system": f"{have.system.distribution} {have.system.version}", "kernel": have.system.kernel}
    found |= {name: versions.current or "none" for name, versions in have.versions.items()}
    recorded = have.instances.settings.get(pool)
    if recorded is None:
        return found | {"pool": "not ours" if have.pool.status else "none"} | _sizes(have, pool)
    return found | {"pool": recorded.get("VARIANT", "loop")} | _settings(recorded) | _sizes(have, pool)


def _settings(recorded: dict[str, str]) -> dict[str, str]:
    found = {key: recorded[line] for line, key in RECORDED.items() if recorded.get(line, "0") != "0"}
    if (most := found.get("pool.max_size", "")).isdecimal():
        found["pool.max_size"] = sizes.show(int(most))
    return found


def _sizes(have: Facts, pool: str) -> dict[str, str]:
    base = next((one.base_image_size for one in have.instances.configs.values() if one.pool == pool), "")
    found = {"pool.base_image_size": base} if base else {}
    table, status = have.pool.table, have.pool.status
    if not table or not status:
        return found
    return found | {
        "pool.size": sizes.show(table.sectors * sizes.SECTOR),
        "pool.meta_size": sizes.show(status.total_meta * META_BLOCK),
        "pool.block_size": sizes.show(table.block_sectors * sizes.SECTOR),
        "pool.when_full": table.when_full,
    }
