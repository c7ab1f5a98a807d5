"""Replace a pool's metadata by a backup; everything that this loses is listed first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import msgspec

from fabfile import hints
from fabfile.bolt import Broken
from fabfile.console import say
from fabfile.errors import Failed, Problem, Refused, Unreachable
from fabfile.output.outcome import result
from fabfile.plan import Command
from fabfile.pool.health import missing
from fabfile.pool.maintain import (
    actions,
    changes_since,
    comparison,
    containerd_records,
    database_files,
    thin_devices,
    transaction,
)
from fabfile.pool.maintain.actions import BACKUPS, InspectedPool
from fabfile.pool.maintain.check import verdict
from fabfile.pool.maintain.disagreements import numbers, pool_of
from fabfile.pool.maintain.downtime import down, refuse_busy, start, stop
from fabfile.pool.maintain.metadata_copies import KEEP, prune
from fabfile.pool.maintain.repair import TOOLS, old_metadata, swap
from fabfile.pool.maintain.thin_devices import DatabaseEntry
from fabfile.remote.context import Context
from fabfile.render import render
from fabfile.shell import words

TASK = "pool.restore"

DEPENDS = (
    "depending on the backup: before containerd starts, correct its databases and remove devices without an owner;"
    " afterwards, have containerd forget lost snapshots and unpack their images again"
)
"""What `comparison.reconcile` and `comparison.forget` do, which depends on the restored metadata."""


class Candidate(msgspec.Struct, frozen=True):
    """New metadata made from a backup, in a separate place."""

    path: str
    identity: str
    source: str
    """The backup file."""
    age: int
    """Age of the backup in seconds, by the machine's clock."""
    stale: tuple[DatabaseEntry, ...]
    """Entries that will have no device of their own."""
    losses: tuple[str, ...]
    """What will be lost, a line each."""
    pools: frozenset[str]
    """The pools that the backup is of, by its place and by the names in its copies of containerd's database."""


class Restored(msgspec.Struct, frozen=True):
    """The outcome of a restore."""

    source: str
    """The backup file."""
    age: int
    """Age of the backup in seconds, by the machine's clock."""
    losses: tuple[str, ...]
    """What was made since the backup and is lost."""


def restore_pool(c: Context, from_: str, name: str, instance: str, *, force: bool, yes: bool) -> None:
    """Replace a pool's metadata by a backup, and keep the old metadata.

    Args:
        c: the machine.
        from_: backup file on the machine; empty: the newest one that pool.backup made.
        name: see `actions.find`.
        instance: see `actions.find`.
        force: kill the containers that run on the pool.
        yes: consent to restoring over sound metadata, or to losing what was made since the backup.

    Raises:
        Refused: it needs --yes, the backup is another pool's, a part of the pool is missing, or the pool is in use.
        Failed: the backup, a database or the restored pool does not work.
    """
    if from_ and not re.fullmatch(r"/[^\n\0]+", from_):
        raise Refused(
            f"from: {from_!r} is not an absolute path",
            "a file on the host",
            hint="for example --from /var/lib/containerd-devmapper/backup/POOL/FILE.xml.gz",
        )
    pool = actions.find(c, name, instance, TOOLS, without=frozenset({"meta"}), lvm=True)
    if any(loss.up for loss in missing.losses(pool.have, pool.name)):
        missing.refuse(pool.have, pool.name)
    refuse_busy(c, TASK, pool, force=force)
    actions.only_planned(c, TASK, _planned(pool, from_, force=force), then=DEPENDS)
    state = verdict(c, TASK, pool)
    if missing.losses(pool.have, pool.name):
        # The kernel may still have in memory what a truncated file has lost, so a good check proves nothing.
        state = msgspec.structs.replace(state, good=False)
    made = _made(actions.do(c, TASK, pool, _making(pool, from_)))
    others = made.pools - {pool.name}
    if others or (not yes and (state.good or made.losses)):
        drop = pool.render("drop", candidate=made.path, identity=made.identity)
        actions.do(c, TASK, pool, [Command("remove the new metadata, which is not used", drop)])
        if others:
            _refuse_others(pool, made.source, others)
        _refuse(pool, made, sound=state.what if state.good else "")
    result(Restored(made.source, made.age, made.losses))
    for line in (f"{made.source}: {age(made.age)}; what was written since is lost", *made.losses):
        say(line)
    with down(c, TASK, pool), _to_be_continued(c, pool, made.source):
        # Together, under one lock: nobody else starts the pool between its stop and the exchange.
        printed = actions.do(c, TASK, pool, _replacing(pool, made.path, made.source, force=force))
        means = comparison.reconcile(c, TASK, pool, stale=made.stale)
        actions.do(c, TASK, pool, [_finished(pool)])
    comparison.forget(c, TASK, pool, means)
    say(f"the old metadata: {old_metadata(printed)}")
    actions.do(c, TASK, pool, [prune(pool, KEEP)])


def _making(pool: InspectedPool, source: str) -> list[Command]:
    script = render("pool/common.sh.j2", pool=pool) + pool.render("restore", source=source)
    return [Command(f"new metadata from {source or 'the newest backup'}", script), actions.listing(pool)]


def _replacing(pool: InspectedPool, candidate: str, source: str, *, force: bool) -> list[Command]:
    return [stop(pool, force=force), swap(pool, candidate, source), start(pool)]


def _finished(pool: InspectedPool) -> Command:
    return Command("the databases fit the restored metadata", words("rm", "-f", pool.unfinished))


@contextmanager
def _to_be_continued(c: Context, pool: InspectedPool, source: str) -> Iterator[None]:
    """Within this context, containerd's databases may not fit the metadata: an error says how to go on from there."""
    try:
        yield
    except (Failed, Unreachable) as error:
        if not _has_begun(c, pool):
            raise
        unfit = f"{pool.daemon.unit} is not started: its databases do not fit the restored metadata yet"
        again = hints.again(TASK, pool.daemon, pool.name, "--from", source, "--yes")
        raise type(error)(error.what, f"{error.details}\n{unfit}", f"fix the cause, then {again}") from error


def _has_begun(c: Context, pool: InspectedPool) -> bool:
    """Whether the metadata was exchanged; if the host cannot be asked, it may have been."""
    try:
        return bool(actions.again(c, pool).have.units.unfinished)
    except Problem:
        return True


def _planned(pool: InspectedPool, source: str, *, force: bool) -> list[Command]:
    """Everything that a restore does whatever the backup contains; a new volume has its time in its name."""
    candidate = pool.record.candidate or f"/dev/{transaction.record(pool).path}_before_TIME"
    replacing = [*_replacing(pool, candidate, source, force=force), comparison.reading(pool)]
    return [*_making(pool, source), *replacing, _finished(pool), start(pool), prune(pool, KEEP)]


def _made(printed: str) -> Candidate:
    """Parse the new metadata, and determine what would be lost.

    Raises:
        Failed: a database cannot be read, the current one or the backup's.
    """
    lines = printed.splitlines()
    source = " ".join(actions.reported(printed, "source") or [])
    age, identity, *path = actions.reported(printed, "candidate") or ["0", "", ""]
    try:
        now = thin_devices.parse(lines)
        copies = [database_files.unpack(lines, prefix) for prefix in ("then-", "then-after-")]
        then = [thin_devices.known(copy) for copy in copies if copy.pool is not None]
        known = containerd_records.read(database_files.unpack(lines).records)
    except Broken as error:
        raise thin_devices.unreadable(TASK, error) from error
    stale = changes_since.stale(now, then, now.ids)
    owners = numbers(now)
    keys = [now.snapshots[owners[entry.name]].key for entry in stale if now.snapshots and entry.name in owners]
    losses = changes_since.lines(stale, now, containerd_records.affected(known, keys))
    if not then and now.database:
        losses.append("whether a thin id was another device's then: it has no copy of containerd's databases")
    pools = {pool_of(entry.name) for view in then for entry in (view.database or {}).values()}
    if source.startswith(f"{BACKUPS}/"):
        pools.add(source.removeprefix(f"{BACKUPS}/").partition("/")[0])
    return Candidate(" ".join(path), identity, source, int(age), tuple(stale), tuple(losses), frozenset(pools))


def _refuse_others(pool: InspectedPool, source: str, others: Iterable[str]) -> NoReturn:
    """Refuse a backup of another pool, whose blocks of data are not this pool's.

    Raises:
        Refused: always.
    """
    hint = f"the newest backup of {pool.name}: {pool.command(TASK)}"
    raise Refused(f"{source} is not a backup of {pool.name}", f"it is one of {', '.join(sorted(others))}", hint=hint)


def _refuse(pool: InspectedPool, made: Candidate, *, sound: str) -> None:
    """Refuse a restore without --yes.

    Raises:
        Refused: with everything that would be lost.
    """
    again = hints.again(TASK, pool.daemon, pool.name, "--yes")
    if sound:
        raise Refused(
            f"the metadata of {pool.name} is sound ({sound})",
            "\n".join([f"a restore takes it back to {made.source}: {age(made.age)}", *made.losses]),
            hint=f"if that is what you want: {again}",
        )
    raise Refused(
        f"{made.source} lacks what containerd has made or changed since",
        "\n".join([age(made.age), *made.losses]),
        hint=f"to continue and lose that: {again}",
    )


def age(seconds: int) -> str:
    """Format the age of a backup."""
    if seconds < 0:
        return "dated in the future according to the host's clock"
    return (
        f"{seconds // 86400} days old" if seconds >= 172800 else f"{seconds // 3600} h {seconds % 3600 // 60} min old"
    )
