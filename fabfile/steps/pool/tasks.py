"""Thin pools: make, look at, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from invoke import Context, task

from fabfile import inventory, target
from fabfile.console import say
from fabfile.errors import Failed, Refused
from fabfile.facts import Facts, Query, gather
from fabfile.plan import Step, as_json, converge, words

if TYPE_CHECKING:
    from fabfile.steps.pool.thin import Pool as Thin
    from fabfile.steps.pool.volume import Volume


def wanted(pool: inventory.Pool) -> tuple[Thin, Volume | None]:
    """The checked pool, and the volume under it if one is asked for, from what a person wrote.

    Raises:
        Refused: a value that cannot be.
    """
    from fabfile.steps.pool import thin, volume

    checked = thin.pool(
        name=pool.name, dir=pool.dir, size=pool.size, meta_size=pool.meta_size, block_size=pool.block_size
    )
    return checked, volume.volume(pool.volume, pool.volume_size, checked.dir)


def loop_step(pool: inventory.Pool) -> tuple[Step, Query]:
    """The step that makes a loop pool, and what it asks."""
    from fabfile.steps.pool import loop

    checked, under = wanted(pool)
    return loop.step(checked, under), loop.query(checked, under)


@task(
    help={
        "size": "of the data device, such as 100G",
        "meta-size": "of the metadata device; by default computed from size and block size",
        "name": "of the pool",
        "dir": "directory of the data and metadata files, on ext4 or xfs",
        "block-size": "64K to 1G, a multiple of 64K, fixed for the pool's life",
        "volume": "VG/LV to make, format with ext4 and mount at the directory",
        "volume-size": "of that volume, such as 15G",
        "json": "with --dry: the plan as JSON",
    }
)
def loop(
    c: Context,
    size: str = "",
    meta_size: str = "",
    name: str = "",
    dir: str = "",
    block_size: str = "",
    volume: str = "",
    volume_size: str = "",
    json: bool = False,
) -> None:
    """Make a thin pool on loop devices that comes back at every boot."""
    given = {
        "size": size,
        "meta_size": meta_size,
        "name": name,
        "dir": dir,
        "block_size": block_size,
        "volume": volume,
        "volume_size": volume_size,
    }
    host = inventory.of(c)
    pool = msgspec.structs.replace(host.pool, **{key: value for key, value in given.items() if value})
    step, query = loop_step(pool)
    converge(c, [step], query, json=json)


@task(help={"name": "of the pool", "json": "as JSON"})
def status(c: Context, name: str = "", json: bool = False) -> None:
    """Show how full the pool is and what it stands on."""
    host = inventory.of(c)
    pool = msgspec.structs.replace(host.pool, name=name or host.pool.name)
    have = gather(c, Query(pool=pool.name, dir=pool.dir))
    if json:
        say(as_json(have.pool))
    else:
        say("\n".join(describe(pool.name, have)))
    if not have.pool.status:
        raise Failed(f"no thin pool {pool.name}", "dmsetup does not know it", hint="make one: pool.loop")


def describe(name: str, have: Facts) -> list[str]:
    """The lines that show a pool to a person."""
    from fabfile import sizes

    pool = have.pool
    if not pool.status or not pool.table:
        return [f"pool {name}: none"]
    block = pool.table.block_sectors * sizes.SECTOR
    used, total = pool.status.used_data * block, pool.status.total_data * block
    meta = f"{sizes.human(pool.status.used_meta * 4096)} of {sizes.human(pool.status.total_meta * 4096)}"
    lines = [
        f"pool {name}: {pool.status.mode}{', NEEDS CHECK' if pool.status.needs_check else ''}",
        f"  data      {sizes.human(used)} of {sizes.human(total)} ({_percent(used, total)}), {sizes.show(block)} block",
        f"  metadata  {meta} ({_percent(pool.status.used_meta, pool.status.total_meta)})",
        f"  at boot   {'yes' if pool.enabled else 'NO: its unit is not enabled'}",
    ]
    if pool.data and pool.place:
        free = sizes.human(pool.place.free)
        lines.append(
            f"  on disk   {sizes.human(pool.data.allocated)}, {free} free on {pool.place.target} ({pool.place.type})"
        )
    return lines


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


@task(help={"yes": "really do it", "force": "also while containers run: they are killed", "name": "of the pool"})
def reset(c: Context, yes: bool = False, force: bool = False, name: str = "") -> None:
    """Remove the pool, its files and all images and containers of this containerd."""
    from fabfile.render import render
    from fabfile.steps.config import DROP_IN
    from fabfile.steps.pool import files, thin

    host = inventory.of(c)
    name = name or host.pool.name
    thin.check_name(name)
    have = gather(c, Query(pool=name, dir=host.pool.dir, bin_dir=host.bin_dir, files=files.paths(name)))
    conf = have.files.get(files.conf(name))
    if conf is None:
        if have.pool.table:
            raise Refused(
                f"the device {name} is not ours", f"no {files.conf(name)}", hint="dmsetup remove, if you must"
            )
        say(f"no pool {name}: nothing to do")
        return
    settings = files.parse(conf.content)
    script = render(
        "pool/reset.sh.j2",
        name=name,
        data=settings["DATA"],
        meta=settings["META"],
        root=settings["DATA"].rpartition("/")[0],
        script=files.SCRIPT,
        unit=files.unit(name),
        unit_path=files.unit_path(name),
        conf=files.conf(name),
        drop_in=DROP_IN,
        ctr=f"{host.bin_dir}/ctr",
        force=force,
    )
    if target.is_dry(c) or not yes:
        what = f"{settings['DATA']}, {settings['META']}, all images, containers and snapshots of this containerd"
        if target.is_dry(c):
            say(f"would destroy: {what}\n{script}")
            return
        raise Refused(f"pool.reset destroys the pool {name}", what, hint="if that is what you want: pool.reset --yes")
    from fabfile.plan import Command, apply

    apply(c, "pool.reset", [Command(f"remove the pool {name} and containerd's state on it", script)], have)
    left = gather(c, Query(pool=name, dir=host.pool.dir, files=files.paths(name)))
    if left.pool.table or left.pool.data or left.pool.meta or files.conf(name) in left.files:
        raise Failed(f"pool.reset: something of {name} is still there", words(str(left.pool)))
    say(f"pool {name}: removed; containerd is stopped until the next deploy")
