"""All of it, in order: packages, toolchain, containerd, runc, pool, configuration, proof."""

from __future__ import annotations

import msgspec
from invoke import Context, task

from fabfile import inventory
from fabfile.daemon import INSTANCE
from fabfile.facts import Query
from fabfile.inventory import Host
from fabfile.plan import Outcome, Step, converge
from fabfile.steps import config, containerd, packages, runc, smoke
from fabfile.steps.pool import loop


def steps(host: Host) -> tuple[list[Step], Query]:
    """The steps that make a machine what `host` says, in the order in which they depend on each other.

    The toolchain goes to the machine only where it builds; elsewhere the controller has it in its cache.
    """
    make_pool, query = loop.step(host.pool, host.instance)
    all_steps = [
        *(containerd.prerequisites(host) or [packages.step(build=False)]),
        containerd.step(host.release, host.mirror, host.bin_dir, host.build),
        runc.step(host.release, host.mirror),
        make_pool,
        config.step(host, host.release, host.mirror),
        smoke.step(host),
    ]
    return all_steps, msgspec.structs.replace(query, bin_dir=host.bin_dir)


@task(
    help={
        "release": "release set, see releases.toml",
        "mirror": "directory or HTTP address that has the files",
        "registry": "address of the registry for the smoke test",
        "image": "image for the smoke test",
        "size": "of the pool's data device",
        "instance": INSTANCE,
        "json": "with --dry: the plan as JSON",
    }
)
def deploy(
    c: Context,
    release: str = "",
    mirror: str = "",
    registry: str = "",
    image: str = "",
    size: str = "",
    instance: str = "",
    json: bool = False,
) -> list[Outcome]:
    """Everything, in order; a machine that has it all is only looked at, once."""
    given = {"release": release, "mirror": mirror, "registry": registry, "image": image}
    host = msgspec.structs.replace(inventory.of(c, instance), **{key: value for key, value in given.items() if value})
    if size:
        host = msgspec.structs.replace(host, pool=msgspec.structs.replace(host.pool, size=size))
    order, query = steps(host)
    return converge(c, order, query, json=json)
