"""Create, inspect, maintain and remove thin pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from invoke import Context

from fabfile import host
from fabfile.cli.task import Force, Instance, Name, Wipe, task
from fabfile.option import about, size_of


@task(settings=[(host.Pool, host.LOOP_OPTIONS)], diff=True)
def loop(c: Context, instance: Instance = "", **given: Any) -> None:
    """Create a thin pool on two files; it grows by itself and starts at boot."""
    from fabfile.pool.loop.loop_pool import make_loop_pool

    make_loop_pool(c, instance, **given)


@task(settings=[(host.Pool, host.DIRECT_OPTIONS)], diff=True)
def direct(c: Context, wipe: Wipe = (), instance: Instance = "", **given: Any) -> None:
    """Create a thin pool with LVM, on whole disks or in a volume group; it grows by itself and starts at boot."""
    from fabfile.pool.lvm.direct_pool import make_direct_pool

    make_direct_pool(c, wipe, instance, **given)


@task(diff=True)
def adopt(
    c: Context,
    name: Annotated[str, about("pool name; by default the one in containerd's configuration")] = "",
    instance: Instance = "",
) -> None:
    """Take over an existing loop pool: write its record, units and boot order, and leave its content alone."""
    from fabfile.pool.maintain.adopt import adopt_pool

    adopt_pool(c, name, instance)


@task(answers="fabfile.pool.lvm.candidates:Offer[]", read_only=True)
def disks(c: Context) -> None:
    """List every disk, partition and volume group, and whether a pool can be created on it; nothing is changed."""
    from fabfile.pool.lvm.candidates import show_candidates

    show_candidates(c)


@task(diff=True)
def grow(
    c: Context,
    size: Annotated[str, size_of("new size of the data device")] = "",
    meta_size: Annotated[
        str, size_of("new size of the metadata device; by default what a loop pool's data needs")
    ] = "",
    device: Annotated[Sequence[str], about("whole, empty disk to add to a direct pool's volume group")] = (),
    wipe: Wipe = (),
    name: Name = "",
    instance: Instance = "",
) -> None:
    """Enlarge the pool while containers run."""
    from fabfile.pool.maintain.grow import enlarge_pool

    enlarge_pool(c, name, instance, size=size, meta_size=meta_size, device=device, wipe=wipe)


@task(answers="fabfile.facts.pool:Pool", read_only=True)
def status(c: Context, name: Name = "", instance: Instance = "") -> None:
    """Show how full the pool is and what it consists of."""
    from fabfile.pool.status import show_pool

    show_pool(c, name, instance)


@task(diff=True, answers="fabfile.pool.maintain.check:Checked")
def check(c: Context, name: Name = "", instance: Instance = "") -> None:
    """Check that a pool's metadata is sound; while containers run, on a snapshot of it."""
    from fabfile.pool.maintain.check import check_pool

    check_pool(c, name, instance)


@task(diff=True, answers="fabfile.pool.maintain.backup:Backup")
def backup(
    c: Context,
    keep: Annotated[int, about("number of backups to keep, the newest ones", ge=1, le=10000)] = 8,
    name: Name = "",
    instance: Instance = "",
) -> None:
    """Copy a pool's metadata and containerd's databases of it to files on the host, also while containers run."""
    from fabfile.pool.maintain.backup import back_up_pool

    back_up_pool(c, name, instance, keep=keep)


@task(diff=True, answers="fabfile.pool.maintain.check:Checked")
def repair(
    c: Context,
    force: Force = False,
    yes: Annotated[bool, about("consent to a repair that loses devices or LVM's thin volumes")] = False,
    name: Name = "",
    instance: Instance = "",
) -> None:
    """Repair a pool's damaged metadata and LVM's record of the pool; a copy of the old ones is kept."""
    from fabfile.pool.maintain.repair import repair_pool

    repair_pool(c, name, instance, force=force, yes=yes)


@task(diff=True, answers="fabfile.pool.maintain.restore:Restored")
def restore(
    c: Context,
    from_: Annotated[str, about("backup file on the host; by default the newest one that pool.backup made")] = "",
    force: Force = False,
    yes: Annotated[bool, about("consent to replace sound metadata, or to lose what was made since the backup")] = False,
    name: Name = "",
    instance: Instance = "",
) -> None:
    """Replace a pool's metadata by a backup and keep the old one; what was made since is listed, and lost."""
    from fabfile.pool.maintain.restore import restore_pool

    restore_pool(c, from_, name, instance, force=force, yes=yes)


@task(diff=True)
def rescue(c: Context, force: Force = False, name: Name = "", instance: Instance = "") -> None:
    """Recover the files of a pool that were deleted while it is up; containerd and the pool are restarted."""
    from fabfile.pool.maintain.rescue import rescue_files

    rescue_files(c, name, instance, force=force)


@task(diff=True, answers="fabfile.pool.maintain.metadata_copies:Copy[]")
def kept(
    c: Context,
    keep: Annotated[int, about("number of copies to keep, the newest ones", ge=0, le=10000)] = 2,
    name: Name = "",
    instance: Instance = "",
) -> None:
    """Remove old copies of a pool's metadata that repairs and restores kept, and list the remaining ones."""
    from fabfile.pool.maintain.metadata_copies import prune_copies

    prune_copies(c, name, instance, keep=keep)


@task(diff=True, answers="fabfile.pool.maintain.fsck:Compared")
def fsck(
    c: Context,
    fix: Annotated[
        bool, about("repair of what is found; containerd is stopped meanwhile, but not its containers")
    ] = False,
    yes: Annotated[
        bool, about("consent to a repair without a database, or one that removes every thin id or every entry")
    ] = False,
    name: Name = "",
    instance: Instance = "",
) -> None:
    """List inconsistent thin ids, database entries, snapshots and devices; repair them with --fix."""
    from fabfile.pool.maintain.fsck import compare_records

    compare_records(c, name, instance, fix=fix, yes=yes)


@task(diff=True, answers="fabfile.pool.maintain.trim:Trimmed")
def trim(
    c: Context,
    offline: Annotated[
        bool,
        about("discard of all unallocated blocks as well, down to the data file or disks; the pool is down meanwhile"),
    ] = False,
    force: Force = False,
    name: Name = "",
    instance: Instance = "",
) -> None:
    """Return space that files no longer use, and print how much.

    Devices that are not mounted, such as an image's layers, keep what they have: nobody deletes files in them.
    """
    from fabfile.pool.maintain.trim import trim_pool

    trim_pool(c, name, instance, offline=offline, force=force)


@task(diff=True)
def reset(
    c: Context,
    yes: Annotated[bool, about("consent to the removal; without it nothing is removed")] = False,
    force: Force = False,
    all: Annotated[
        bool, about("removal of every pool made by this tool, and of everything that deploy installed except packages")
    ] = False,
    name: Name = "",
    instance: Instance = "",
) -> None:
    """Remove the pool with all images and containers on it; with --all, everything that deploy installed."""
    from fabfile.steps.reset import remove_pools

    remove_pools(c, name, instance, yes=yes, force=force, all=all)
