"""Which containerd a pool belongs to: each has one pool and one root directory, and neither moves while in use."""

from __future__ import annotations

from fabfile import hints, sizes
from fabfile.errors import Refused
from fabfile.facts import Facts, record
from fabfile.facts.instances import DevmapperSettings
from fabfile.facts.record import Record
from fabfile.instance import OURS, Daemon
from fabfile.shell import words

KEEP_BOTH = "to keep both, use another instance: --instance NAME"


def owner(recorded: Record | None) -> Daemon:
    """Return the containerd that a pool was created for; the default one if this tool does not manage the pool."""
    return Daemon(recorded.instance if recorded else "")


def installed(have: Facts, daemon: Daemon) -> bool:
    """Return whether the unit of a containerd is ours."""
    unit = have.files.get(daemon.unit_path)
    return unit is not None and unit.content.startswith(OURS)


def within(dir: str, daemon: Daemon) -> bool:
    """Return whether a directory is below the root of a containerd."""
    return dir.startswith(f"{daemon.root}/")


def refuse_foreign(have: Facts, daemon: Daemon, name: str, dir: str) -> None:
    """Refuse a pool name or directory that another containerd uses.

    Args:
        have: facts of the machine.
        daemon: the containerd that would use them.
        name: the pool's name.
        dir: the directory of the pool and the snapshotter's databases.

    Raises:
        Refused: they are in use; two containerds on one pool or directory destroy each other's state.
    """
    dir, taken = dir.rstrip("/"), list[str]()
    for pool, recorded in have.instances.pools.items():
        if recorded.instance != daemon.instance:
            if pool == name:
                taken.append(f"the pool {name} was made for {owner(recorded)}")
            if recorded.files_dir == dir:
                taken.append(f"{dir} holds the pool {pool} of {owner(recorded)}")
    for path, config in have.instances.configs.items():
        if path != daemon.config_path:
            if config.pool == name:
                taken.append(f"{path} names the pool {name}")
            if config.pool_root.rstrip("/") == dir:
                taken.append(f"{path} names the directory {dir}")
            if daemon.instance and config.root.rstrip("/") == daemon.root:
                taken.append(f"{path} names the root {daemon.root}")
    if taken:
        raise Refused(
            f"another containerd on the host uses what {daemon} would get",
            "\n".join([*taken, "two containerds on one pool or directory destroy each other's state"]),
            hint="choose another --name and --dir, or name that containerd: --instance",
        )


def refuse_move(have: Facts, daemon: Daemon, name: str, dir: str, variant: str = "loop") -> None:
    """Refuse to move a containerd that is configured for an existing pool to another pool, directory or variant.

    Args:
        have: facts of the machine.
        daemon: the containerd.
        name: the requested pool's name.
        dir: the requested directory.
        variant: `loop` or `direct`.

    Raises:
        Refused: with both values, what would break, and how to keep both.
    """
    now = have.instances.configs.get(daemon.config_path)
    if now is None or not _there(have, now):
        return  # a pool that is gone took its content with it, so there is nothing left to break
    breaks = []
    if now.pool != name:
        breaks.append(f"pool: it has {now.pool}, requested: {name}: every device and database on it carries its name")
    if now.pool_root.rstrip("/") != dir.rstrip("/"):
        breaks.append(f"directory: it has {now.pool_root or 'none'}, requested: {dir}: its databases would stay behind")
    there = have.instances.pools.get(now.pool)
    if there and record.variant(there) != variant:
        breaks.append(f"variant: it has {record.variant(there)}, requested: {variant}: the blocks are on other devices")
    if breaks:
        raise Refused(
            f"{daemon} is configured for another pool",
            "\n".join([*breaks, "its images, containers and snapshots would be lost"]),
            hint=_moving(have, daemon, now.pool),
        )


def _moving(have: Facts, daemon: Daemon, pool: str) -> str:
    """Return the hint for keeping or discarding the pool that a containerd is configured for."""
    if pool not in have.instances.pools:
        adopt = hints.command("pool.adopt", daemon, pool)
        return f"to keep it: {adopt}, and add what that prints to the inventory; {KEEP_BOTH}"
    return f"to discard them: {hints.command('pool.reset', daemon, pool, '--yes')}, then run it again; {KEEP_BOTH}"


def refuse_base_image_size(have: Facts, daemon: Daemon, wanted: str) -> None:
    """Refuse a new base image size if a containerd already has images of another one.

    Args:
        have: facts of the machine.
        daemon: the containerd.
        wanted: the requested size, as written.

    Raises:
        Refused: with both values, what would break, and how to keep both.
    """
    size = sizes.parse(wanted, "pool.base_image_size", least=sizes.MIB, containerd=True)
    now = have.instances.configs.get(daemon.config_path)
    status = have.pool.status
    if now is None or not now.base_image_size or not _there(have, now):
        return
    if status and not status.used_data:
        return  # no device on the pool has a block yet
    before = sizes.parse(now.base_image_size, f"{daemon.config_path}: base_image_size", containerd=True)
    if size == before:
        return
    if size < before:
        why = "a container of an existing image gets a device smaller than its file system, which then fails"
    else:
        why = "existing images keep the old size, and so do their containers; only new ones get the larger one"
    discard = hints.command("pool.reset", daemon, now.pool, "--yes")
    raise Refused(
        f"{daemon} has images with another base image size",
        f"base_image_size: it has {now.base_image_size}, requested: {wanted}\n{why}",
        hint=f"to discard them: {discard}, then run it again; {KEEP_BOTH}",
    )


def _there(have: Facts, config: DevmapperSettings) -> bool:
    """Whether the pool that a configuration names exists, ours or not."""
    return config.pool in have.instances.pools or config.pool in have.instances.active


def refuse_stale(have: Facts, daemon: Daemon, name: str) -> None:
    """Refuse a new pool for a containerd that still has images and containers of another one.

    Args:
        have: facts of the machine.
        daemon: the containerd.
        name: the new pool's name.

    Raises:
        Refused: with its databases, and the way to the pool that they belong to; if that is gone, the commands that
            move them aside.
    """
    known = have.known
    if not (known.entries or known.snapshots or known.records):
        return
    found = (
        f"its databases name {known.records or 0} snapshots, {known.entries or 0} devices: {', '.join(known.paths)}\n"
        "on a new pool none of them could be used"
    )
    if others := [pool for pool in _pools(have, daemon) if pool != name]:
        raise Refused(
            f"{daemon} has images and containers on another pool",
            f"{found}\nits pools: {', '.join(others)}",
            hint=_moving(have, daemon, others[0]),
        )
    outside = [path for path in known.paths if not within(path, daemon)]
    moves = [words("mv", path, f"{path}.before") for path in (daemon.root, *outside)]
    aside = " && ".join([words("systemctl", "stop", daemon.unit), *moves])
    raise Refused(
        f"{daemon} has images and containers on a pool that is gone",
        found,
        hint=f"bring that pool back; or move all of them aside: {hints.on_host(aside)}",
    )


def _pools(have: Facts, daemon: Daemon) -> list[str]:
    """List the existing pools of a containerd: first the one that it is configured for, then those made for it."""
    config = have.instances.configs.get(daemon.config_path)
    configured = [config.pool] if config and _there(have, config) else []
    made = [pool for pool, recorded in have.instances.pools.items() if recorded.instance == daemon.instance]
    return list(dict.fromkeys([*configured, *made]))
