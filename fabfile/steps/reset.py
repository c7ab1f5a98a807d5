"""Remove a pool and everything that depends on it, or everything that deploy installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import msgspec

from fabfile import hints, inventory
from fabfile.console import say
from fabfile.converge import converge, pending, preview
from fabfile.errors import Pending, Refused
from fabfile.facts import Facts, gather
from fabfile.facts.query import about
from fabfile.facts.record import LvmRecord
from fabfile.host import Host
from fabfile.instance import Daemon
from fabfile.output.answer import show
from fabfile.output.outcome import Outcome
from fabfile.plan import Change
from fabfile.pool import limits, lookup, remove, units
from fabfile.pool.lvm import identity
from fabfile.pool.ownership import installed, owner
from fabfile.pool.remove import Part, Removal
from fabfile.remote import target
from fabfile.remote.context import Context
from fabfile.shell import words
from fabfile.steps import teardown


def remove_pools(c: Context, name: str, instance: str, *, yes: bool, force: bool, all: bool) -> list[Outcome]:
    """Remove a pool, with all images and containers of its containerd.

    Args:
        c: the machine.
        name: pool name; empty: the pool of this containerd.
        instance: the containerd instance; see `inventory.of`.
        yes: consent to the removal.
        force: kill the containers that run on a pool.
        all: remove every pool that was created here, and everything that deploy installed except packages.

    Raises:
        Pending: with --dry, if anything would be removed.
        Refused: it needs --yes, or something is in use.
    """
    host = inventory.of(c, instance)
    if all and (name or instance):
        raise Refused("pool.reset --all acts on the whole host", "it takes no --name and no --instance")
    if name:
        limits.check_name(name)
    pool = name or host.pool.dm_name
    default = Daemon("", host.bin_dir)
    have = gather(c, about(host, pool=pool, only=("instances", "files"), files=(default.unit_path,)))
    names = sorted(have.instances.pools) if all else _chosen(have, host.daemon, pool, named=bool(name))
    parts = [_part(c, have, host, each, last=_last(have, names, each), force=force) for each in names]
    if all:
        parts.append(teardown.part(default, force=force))
    typed = ["", ""] if all else [host.daemon.instance, *names[:1]]
    if target.is_dry(c) and parts:
        return _preview(c, parts, typed, force=force)
    states = {part: gather(c, part.step.query) for part in parts}
    todo = {part: changes for part, seen in states.items() if (changes := part.step.plan(seen))}
    if not todo:
        show(
            f"{'this tool has installed nothing on the host' if all else f'there is no pool {pool}'}: nothing to do",
            always=True,
        )
        return []
    if not yes:
        _refuse_unasked(todo, typed)
    _refuse_used(c, list(todo), typed, force=force)
    outcomes: list[Outcome] = []
    for part in todo:  # the first one changes what the facts for the others were gathered from
        outcomes += converge(c, [part.step], seen=None if outcomes else states[part])
    if all:
        say("distribution packages remain: other programs may need them")
    return outcomes


def _chosen(have: Facts, daemon: Daemon, name: str, *, named: bool) -> list[str]:
    """The name of the pool to be removed; none if there is nothing to do.

    Raises:
        Refused: the pool belongs to another containerd, or is not managed by this tool.
    """
    pools = have.instances.pools
    if name in pools and (whose := owner(pools[name])).instance != daemon.instance:
        raise Refused(
            f"the pool {name} was made for {whose}",
            f"this would remove the images and containers of {daemon}, and leave theirs without a pool",
            hint=f"if that one is meant: {hints.command('pool.reset', whose, name)}",
        )
    if name not in pools and (named or not lookup.pools_of(have, daemon)):
        if name in have.instances.active:
            raise Refused(
                f"the pool {name} is not managed by this tool",
                f"no {units.conf(name)}",
                hint=f"if nobody uses it: {words('dmsetup', 'remove', name)}",
            )
        return []
    return [lookup.choose(have, daemon, name, named=named)]


def _last(have: Facts, names: Sequence[str], name: str) -> bool:
    return name == names[-1] and set(names) == set(have.instances.pools)


def _part(c: Context, have: Facts, host: Host, name: str, *, last: bool, force: bool) -> Part:
    """The part that removes one pool, as it was created."""
    record = have.instances.pools[name]
    daemon = Daemon(record.instance, host.bin_dir)
    config = have.instances.configs.get(daemon.config_path)
    root = config.pool_root if config and config.pool == name else ""
    root = root or record.dir or host.pool.dir
    pool = Removal(name, daemon, record, root.rstrip("/"), uses=_uses(have, daemon, name), last=last, force=force)
    devices: tuple[str, ...] = ()
    query = msgspec.structs.replace(pool.query(), only=("lvm",))
    if isinstance(record, LvmRecord) and (lvm := gather(c, query).lvm):
        # After an interrupted reset they are in no volume group; and another pool in the group may inherit them.
        others = (each for each in have.instances.pools.values() if isinstance(each, LvmRecord))
        mine = {uuid for each in (identity.complete(lvm, record), *others) for uuid in each.physicals}
        devices = tuple(device for device, uuid in lvm.uuids.items() if uuid in mine and device.startswith("/"))
    return Part(remove.step(pool, devices), remove.idle(pool) + "idle\n")


def _uses(have: Facts, daemon: Daemon, name: str) -> bool:
    """Whether a containerd is configured for the pool or, if it is ours, for no pool yet."""
    config = have.instances.configs.get(daemon.config_path)
    if config and config.pool:
        return config.pool == name
    # An instance is made with its pool; the default containerd may be a distribution's, with images elsewhere.
    return bool(daemon.instance) or installed(have, daemon)


def _refuse_unasked(todo: dict[Part, list[Change]], typed: Sequence[str]) -> NoReturn:
    """Refuse a removal without --yes.

    Raises:
        Refused: with everything that would be removed.
    """
    raise Refused(
        "pool.reset is irreversible; it would:",
        "\n".join(change.why for changes in todo.values() for change in changes),
        hint=f"if that is what you want: {hints.again('pool.reset', *typed, '--yes')}",
    )


def _refuse_used(c: Context, parts: Sequence[Part], typed: Sequence[str], *, force: bool) -> None:
    """Refuse while containers run, or if something else would be lost.

    Raises:
        Refused: with everything that is in use.
    """
    said = "".join(target.sh(c, part.idle, "looking for containers", read_only=True) for part in parts).splitlines()
    against = [line for line in said if not force or line.startswith(("not of the pool", "held: "))]
    if against:
        again = hints.again("pool.reset", *typed, "--yes", "--force")
        move = "move your own files off the pool's file system"
        kill = f"stop the containers and {move}; or, to kill the containers: {again}"
        hint = f"stop what is listed and {move}" if force else kill
        raise Refused(
            "pool.reset: a pool is in use",
            "\n".join(dict.fromkeys(line.removeprefix("held: ") for line in against)),
            hint=hint,
        )


def _preview(c: Context, parts: Sequence[Part], typed: Sequence[str], *, force: bool) -> list[Outcome]:
    """Print what would be removed.

    Raises:
        Pending: something would be.
        Refused: it is in use.
    """
    plans = [(part, part.step.plan(gather(c, part.step.query))) for part in parts]
    _refuse_used(c, [part for part, changes in plans if changes], typed, force=force)
    outcomes = [outcome for part, changes in plans for outcome in preview([(part.step.name, changes)])]
    if pending(outcomes):
        raise Pending
    return outcomes
