"""All of it, in order: packages, toolchain, containerd, runc, pool, configuration, proof."""

from __future__ import annotations

from typing import Any

import msgspec
from invoke import Context

from fabfile import inventory
from fabfile.converge import converge
from fabfile.facts import Query
from fabfile.host import Host
from fabfile.outcome import Outcome
from fabfile.plan import Step
from fabfile.pool.health import usable
from fabfile.pool.loop import loop_pool
from fabfile.pool.lvm import direct_pool
from fabfile.steps import config, containerd, packages, runc, smoke


def steps(host: Host) -> tuple[list[Step], Query]:
    """The steps that make a machine what `host` says, in the order in which they depend on each other.

    The toolchain goes to the machine only where it builds; elsewhere the controller has it in its cache.
    """
    if host.pool.variant == "direct":
        make_pool, query = direct_pool.step(host.pool, host.instance, after_packages=True)
    else:
        make_pool, query = loop_pool.step(host.pool, host.instance)
    all_steps = [
        *(containerd.prerequisites(host) or [packages.step(build=False)]),
        containerd.step(host.release, host.mirror, host.daemon, host.build),
        runc.step(host.release, host.mirror),
        make_pool,
        usable.step(host.pool.dm_name, used=True),
        config.step(host, host.release, host.mirror),
        smoke.step(host),
    ]
    return all_steps, smoke.query(msgspec.structs.replace(query, bin_dir=host.bin_dir), host)


POOL_OPTIONS = ("variant", "size", "devices")


def deploy_host(c: Context, instance: str, **given: Any) -> list[Outcome]:
    """Take all steps.

    Args:
        c: the machine.
        instance: the containerd; see inventory.of.
        given: settings of the host and, of POOL_OPTIONS, of its pool.

    Raises:
        Pending: with --dry, if anything would change.
    """
    asked: dict[str, Any] = {key: given.pop(key) for key in POOL_OPTIONS if key in given}
    host = inventory.of(c, instance, **given)
    host = msgspec.structs.replace(host, pool=host.pool.given(asked))
    order, query = steps(host)
    outcomes = converge(c, order, query, prove=True)
    if direct_pool.changed(outcomes):
        direct_pool.advise(inventory.of(c, instance).pool, host.pool)
    return outcomes
