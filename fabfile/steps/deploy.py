"""A deploy: packages, toolchain, containerd, runc, pool, configuration and smoke test, in this order."""

from __future__ import annotations

from typing import Any

import msgspec

from fabfile import inventory
from fabfile.context import Context
from fabfile.converge import converge
from fabfile.host import Host
from fabfile.outcome import Outcome
from fabfile.plan import Step
from fabfile.pool import variants
from fabfile.pool.health import usable
from fabfile.pool.lvm import direct_pool
from fabfile.steps import config, containerd, packages, runc, smoke


def steps(host: Host) -> list[Step]:
    """The steps that bring a host into the wanted state, in the order of their dependencies.

    A toolchain is installed only on a host that builds; otherwise the controller has it in its cache.
    """
    return [
        *(containerd.prerequisites(host) or [packages.step(host)]),
        containerd.step(host),
        runc.step(host),
        variants.wanted(host.pool).make(host),
        usable.step(host, used=True),
        config.step(host),
        smoke.step(host),
    ]


POOL_OPTIONS = ("variant", "size", "devices")


def deploy_host(c: Context, instance: str, **given: Any) -> list[Outcome]:
    """Converge all steps.

    Args:
        c: the machine.
        instance: the containerd instance; see `inventory.of`.
        given: settings that were typed, of the host and, of `POOL_OPTIONS`, of its pool.

    Raises:
        Pending: with --dry, if anything would change.
    """
    asked: dict[str, Any] = {key: given.pop(key) for key in POOL_OPTIONS if key in given}
    host = inventory.of(c, instance, **given)
    host = msgspec.structs.replace(host, pool=host.pool.given(asked))
    outcomes = converge(c, steps(host), prove=True)
    if direct_pool.changed(outcomes):
        direct_pool.advise(inventory.of(c, instance).pool, host.pool)
    return outcomes
