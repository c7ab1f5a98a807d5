"""All of it, in order: packages, toolchain, containerd, runc, pool, configuration, proof."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from invoke import Context, task

from fabfile import inventory
from fabfile.converge import Outcome, converge
from fabfile.daemon import INSTANCE
from fabfile.errors import Refused
from fabfile.facts import Query
from fabfile.inventory import Host
from fabfile.plan import Step
from fabfile.steps import config, containerd, packages, runc, smoke
from fabfile.steps.pool import direct, loop, well


def steps(host: Host) -> tuple[list[Step], Query]:
    """The steps that make a machine what `host` says, in the order in which they depend on each other.

    The toolchain goes to the machine only where it builds; elsewhere the controller has it in its cache.
    """
    if host.pool.variant == "direct":
        make_pool, query = direct.step(host.pool, host.instance, after_packages=True)
    else:
        make_pool, query = loop.step(host.pool, host.instance)
    all_steps = [
        *(containerd.prerequisites(host) or [packages.step(build=False)]),
        containerd.step(host.release, host.mirror, host.bin_dir, host.build),
        runc.step(host.release, host.mirror),
        make_pool,
        well.step(host.pool.dm_name),
        config.step(host, host.release, host.mirror),
        smoke.step(host),
    ]
    return all_steps, smoke.query(msgspec.structs.replace(query, bin_dir=host.bin_dir), host)


@task(
    iterable=["device"],
    help={
        "release": "release set, see releases.toml",
        "mirror": "directory or HTTP address that has the files",
        "registry": "address of the registry for the smoke test",
        "image": "image for the smoke test",
        "variant": "of the pool: loop or direct",
        "size": "of a loop pool's data device",
        "device": "a whole, empty disk for a direct pool; may be repeated",
        "instance": INSTANCE,
        "json": "with --dry: the plan as JSON",
    },
)
def deploy(
    c: Context,
    release: str = "",
    mirror: str = "",
    registry: str = "",
    image: str = "",
    variant: str = "",
    size: str = "",
    device: Sequence[str] | None = None,
    instance: str = "",
    json: bool = False,
) -> list[Outcome]:
    """Everything, in order; a machine that has it all is only looked at, once."""
    given = {"release": release, "mirror": mirror, "registry": registry, "image": image}
    host = msgspec.structs.replace(inventory.of(c, instance), **{key: value for key, value in given.items() if value})
    if variant not in ("", "loop", "direct"):
        raise Refused(f"variant: {variant!r} is none", "loop or direct")
    pool = {"variant": variant, "size": size, "devices": tuple(device or ())}
    pool = {key: value for key, value in pool.items() if value}
    host = msgspec.structs.replace(host, pool=msgspec.structs.replace(host.pool, **pool))
    order, query = steps(host)
    outcomes = converge(c, order, query, json=json)
    if host.pool.variant == "direct":
        direct.advise(inventory.of(c, instance).pool, host.pool)
    return outcomes
