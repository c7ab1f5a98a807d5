"""A thin pool on two loop devices: data and metadata in sparse files."""

from __future__ import annotations

import msgspec
from invoke import Context, task

from fabfile import inventory, sizes
from fabfile.daemon import INSTANCE, Daemon
from fabfile.errors import Refused
from fabfile.facts import Facts, Query
from fabfile.facts.pool import Backing
from fabfile.plan import Change, Command, Outcome, Step, converge, words
from fabfile.steps.pool import files, owner, thin
from fabfile.steps.pool.thin import Pool
from fabfile.steps.pool.volume import Volume, volume
from fabfile.steps.pool.volume import changes as volume_changes

FILE_SYSTEMS = {"ext4": "", "xfs": ""}
UNFIT = {
    "tmpfs": "it is gone after a reboot",
    "ramfs": "it is gone after a reboot",
    "overlay": "a container's own layer: it is gone with the container",
    "nfs": "loop devices on a network file system lose writes and hang",
    "nfs4": "loop devices on a network file system lose writes and hang",
    "btrfs": "copy-on-write under a loop device fragments and can deadlock when it is full",
}


def step(settings: inventory.Pool, instance: str = "") -> tuple[Step, Query]:
    """The step that makes the pool that a person asked for, and what it asks a machine.

    Raises:
        Refused: a value that cannot be.
    """
    want = thin.pool(
        name=settings.name,
        dir=settings.dir,
        size=settings.size,
        meta_size=settings.meta_size,
        block_size=settings.block_size,
        instance=instance,
    )
    under = volume(settings.volume, settings.volume_size, want.dir)
    query = Query(
        pool=want.name, dir=want.dir, instance=instance, volume=f"{under.group}/{under.name}" if under else ""
    )
    return Step("pool.loop", lambda have: plan(have, want, under), files.paths(want.name)), query


def plan(have: Facts, want: Pool, under: Volume | None) -> list[Change]:
    """What to do, purely from the facts.

    Raises:
        Refused: the machine cannot have this pool, or something that is not ours is in its place.
    """
    refuse_machine(have)
    owner.refuse_foreign(have, Daemon(want.instance), want.name, want.dir)
    owner.refuse_move(have, Daemon(want.instance), want.name, want.dir)
    _refuse_other(have, want)
    mount = volume_changes(have, under) if under else []
    if not mount:
        _refuse_place(have, want)
    return [*mount, *files.changes(have, want), *_backing(have, want), *_active(have, want)]


def refuse_machine(have: Facts) -> None:
    """Refuse a machine that can hold no pool at all."""
    if not have.system.systemd:
        raise Refused("this machine does not run systemd", "pool and containerd are started by its units")
    if not have.system.thin_pool:
        raise Refused(
            f"the kernel {have.system.kernel} has no dm-thin-pool",
            "neither built in nor as a module under /lib/modules",
            hint="boot a distribution's kernel; on Ubuntu: apt-get install linux-modules-extra-$(uname -r)",
        )


def _refuse_other(have: Facts, want: Pool) -> None:
    ours = have.files.get(files.conf(want.name))
    table = have.pool.table
    if ours is None:
        if table:
            raise Refused(
                f"a device {want.name} exists and is not ours",
                f"target {table.target}, {sizes.human(table.sectors * 512)}, on {table.data} {table.meta}",
                hint="choose another --name",
            )
        for path, file in ((want.data_file, have.pool.data), (want.meta_file, have.pool.meta)):
            if file:
                raise Refused(
                    f"{path} exists and is not ours",
                    f"{sizes.human(file.size)}, {sizes.human(file.allocated)} of it in use; it is never overwritten",
                    hint="choose another --dir, or move it away",
                )
        return
    differ = _differences(files.parse(ours.content), files.settings(want))
    if differ:
        raise Refused(
            f"the pool {want.name} exists with other parameters",
            "\n".join(differ),
            hint="ask for what is there, choose another --name and --dir, or remove it: pool.reset",
        )


def _differences(now: dict[str, str], want: dict[str, str]) -> list[str]:
    keys = ("DATA", "META", "DATA_SECTORS", "META_BYTES", "BLOCK_SECTORS")
    return [f"{key}: it has {now.get(key)}, asked for {want[key]}" for key in keys if now.get(key) != want[key]]


def _refuse_place(have: Facts, want: Pool) -> None:
    place = have.pool.place
    if place is None:
        raise Refused(f"cannot tell the file system under {want.dir}", "findmnt did not answer")
    if place.type not in FILE_SYSTEMS:
        why = UNFIT.get(place.type, "only ext4 and xfs are known to carry a pool well")
        raise Refused(
            f"{want.dir} is on {place.type}, which cannot carry a pool",
            f"mounted at {place.target}: {why}",
            hint="name a directory on ext4 or xfs, or let it make one: --volume VG/LV --volume-size 15G",
        )


def _backing(have: Facts, want: Pool) -> list[Change]:
    """The two files. Metadata is made first: data without metadata can only be a loss, never our interruption."""
    data, meta = have.pool.data, have.pool.meta
    if data and not meta:
        raise Refused(
            f"{want.meta_file} is missing beside {want.data_file}",
            "without its metadata the pool's content cannot be found; a new one would hide the loss",
            hint="restore the file, or give the content up: pool.reset",
        )
    if meta and meta.used and not data:
        raise Refused(
            f"{want.data_file} is missing beside metadata in use", "", hint="restore it, or give up: pool.reset"
        )
    plan: list[Change] = []
    if not meta:
        why = f"metadata file of {sizes.show(want.meta)} (48 bytes for each of {want.data // want.block} blocks)"
        plan.append(Command(why, _create(want.meta_file, want.meta)))
    if not data:
        why = f"sparse data file of {sizes.show(want.data)}{_overcommit(have, want)}"
        plan.append(Command(why, _create(want.data_file, want.data)))
    return plan


def _overcommit(have: Facts, want: Pool) -> str:
    place = have.pool.place
    if place is None or place.free >= want.data + want.meta:
        return ""
    return (
        f"; OVERCOMMITTED: {place.target} has {sizes.human(place.free)} free,"
        " and when it is full the pool gets I/O errors"
    )


def _create(path: str, size: int) -> str:
    return (
        f"mkdir -p {words(path.rpartition('/')[0])}\n[ ! -e {words(path)} ] || {{ echo 'it exists by now'; exit 1; }}\n"
        f"umask 077; truncate -s {size} {words(path + '.new')}\nmv {words(path + '.new')} {words(path)}"
    )


def _active(have: Facts, want: Pool) -> list[Change]:
    unit = words(files.unit(want.name))
    pool = have.pool
    if not pool.table:
        # restart: a unit that was started once counts as active although somebody took the pool away since.
        return [
            Command(
                "activate the pool, now and at every boot",
                f"systemctl daemon-reload\nsystemctl enable {unit}\n"
                f"systemctl restart {unit} || {{ systemctl status --no-pager -n 20 {unit}; exit 1; }}",
            )
        ]
    _refuse_table(have, want)
    if not (pool.active and pool.enabled):
        return [
            Command("the pool's unit, now and at every boot", f"systemctl daemon-reload\nsystemctl enable --now {unit}")
        ]
    return []


def _refuse_table(have: Facts, want: Pool) -> None:
    table = have.pool.table
    assert table is not None
    wrong = []
    if table.target != "thin-pool":
        wrong.append(f"target: it has {table.target}, wanted thin-pool")
    if table.sectors != want.sectors:
        wrong.append(f"sectors: it has {table.sectors}, wanted {want.sectors}")
    if table.block_sectors != want.block // 512:
        wrong.append(f"sectors a block: it has {table.block_sectors}, wanted {want.block // 512}")
    for what, device, file in (("data", table.data, have.pool.data), ("metadata", table.meta, have.pool.meta)):
        if device not in _loops(file):
            wrong.append(f"{what} device: it has {device}, ours are {', '.join(_loops(file)) or 'none'}")
    if wrong:
        raise Refused(f"the active device {want.name} is not the pool that was made here", "\n".join(wrong))


def _loops(file: Backing | None) -> tuple[str, ...]:
    return file.loops if file else ()


@task(
    help={
        "size": "of the data device, such as 100G",
        "meta-size": "of the metadata device; by default computed from size and block size",
        "name": "of the pool",
        "dir": "directory of the data and metadata files, on ext4 or xfs",
        "block-size": "64K to 1G, a multiple of 64K, fixed for the pool's life",
        "volume": "VG/LV to make, format with ext4 and mount at the directory",
        "volume-size": "of that volume, such as 15G",
        "instance": INSTANCE,
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
    instance: str = "",
    json: bool = False,
) -> list[Outcome]:
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
    host = inventory.of(c, instance)
    pool = msgspec.structs.replace(host.pool, **{key: value for key, value in given.items() if value})
    making, query = step(pool, host.instance)
    return converge(c, [making], query, json=json)
