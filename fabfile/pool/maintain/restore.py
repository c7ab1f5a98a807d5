"""Put a backup in the place of a pool's metadata: what that loses is named before, and cannot be used after it."""

from __future__ import annotations

import re

import msgspec

from fabfile import hints
from fabfile.bolt import Broken
from fabfile.console import say
from fabfile.context import Context
from fabfile.errors import Failed, Refused
from fabfile.outcome import result
from fabfile.plan import Command
from fabfile.pool.health import missing
from fabfile.pool.maintain import changes_since, comparison, containerd_records, session, thin_devices, transaction
from fabfile.pool.maintain.check import verdict
from fabfile.pool.maintain.disagreements import numbers
from fabfile.pool.maintain.downtime import down, refuse_busy, start, stop
from fabfile.pool.maintain.kept import KEEP, prune
from fabfile.pool.maintain.repair import TOOLS, kept, swap
from fabfile.pool.maintain.session import Session
from fabfile.pool.maintain.thin_devices import Entry
from fabfile.render import render

TASK = "pool.restore"

DEPENDS = (
    "depending on the backup: before containerd starts, correct its databases and remove devices without an owner;"
    " afterwards, have containerd forget lost snapshots and unpack their images again"
)
"""What `comparison.mend` and `comparison.forget` do, which only the new metadata shows."""


class Candidate(msgspec.Struct, frozen=True):
    """New metadata that was made of a backup, in a place of its own."""

    path: str
    identity: str
    source: str
    """The backup."""
    age: int
    """Seconds since it was made, by the machine's clock."""
    stale: tuple[Entry, ...]
    """The entries that will have no device of their own."""
    losses: tuple[str, ...]
    """What that means, a line each."""


class Restored(msgspec.Struct, frozen=True):
    """What a restore took a pool back to."""

    source: str
    """The backup."""
    age: int
    """Seconds since that was made, by the machine's clock."""
    losses: tuple[str, ...]
    """What was made since and cannot be used any more."""


def restore_pool(c: Context, from_: str, name: str, instance: str, *, force: bool, yes: bool) -> None:
    """Put a backup in the place of a pool's metadata, which is kept.

    Args:
        c: the machine.
        from_: backup file on the machine; empty: the newest of pool.backup.
        name: see `session.find`.
        instance: see `session.find`.
        force: containers that run on the pool are killed.
        yes: consent, where the pool is sound or something is lost that was made since.

    Raises:
        Refused: nobody said yes.
    """
    if from_ and not re.fullmatch(r"/[^\n\0]+", from_):
        raise Refused(
            f"from: {from_!r} is not an absolute path",
            "a file on the machine",
            hint="for example --from /var/lib/containerd-devmapper/backup/POOL/FILE.xml.gz",
        )
    found = session.find(c, name, instance, TOOLS, without=frozenset({"meta"}), lvm=True)
    if any(loss.up for loss in missing.losses(found.have, found.name)):
        missing.refuse(found.have, found.name)
    session.only_planned(c, TASK, _planned(found, from_, force=force), then=DEPENDS)
    refuse_busy(c, TASK, found, force=force)
    state = verdict(c, TASK, found)
    if missing.losses(found.have, found.name):
        # What the kernel still has in its memory is no proof of a file that was cut.
        state = msgspec.structs.replace(state, good=False)
    made = _made(found, session.do(c, TASK, found, _making(found, from_)))
    if not yes and (state.good or made.losses):
        drop = found.render("drop", candidate=made.path, identity=made.identity)
        session.do(c, TASK, found, [Command("the new metadata goes again", drop)])
        _refuse(found, made, sound=state.what if state.good else "")
    result(Restored(made.source, made.age, made.losses))
    for line in (f"{made.source}: {hours(made.age)}; what was written since is lost", *made.losses):
        say(line)
    with down(c, TASK, found):
        printed = session.do(c, TASK, found, _replacing(found, made.path, force=force))
        means = comparison.mend(c, TASK, found, stale=made.stale)
    comparison.forget(c, TASK, found, means)
    say(f"the old metadata: {kept(printed)}")
    session.do(c, TASK, found, [prune(found, KEEP)])


def _making(found: Session, source: str) -> list[Command]:
    script = render("pool/common.sh.j2", pool=found) + found.render("restore", source=source)
    database = Command("devices that containerd uses", render("pool/database.sh.j2", pool=found))
    return [Command(f"new metadata from {source or 'the newest backup'}", script), database]


def _replacing(found: Session, candidate: str, *, force: bool) -> list[Command]:
    return [stop(found, force=force), swap(found, candidate), start(found, whole=False)]


def _planned(found: Session, source: str, *, force: bool) -> list[Command]:
    """Everything that a restore does whatever the backup contains. LVM's name for new metadata has the TIME in it."""
    candidate = found.record.candidate or f"/dev/{transaction.record(found).path}_before_TIME"
    replacing = _replacing(found, candidate, force=force)
    return [*_making(found, source), *replacing, comparison.reading(found), start(found), prune(found, KEEP)]


def _made(found: Session, printed: str) -> Candidate:
    """The new metadata, and what it loses.

    Raises:
        Failed: a database cannot be read, now or in the backup.
    """
    lines = printed.splitlines()
    source = " ".join(session.answer(printed, "source") or [])
    age, identity, *path = session.answer(printed, "candidate") or ["0", "", ""]
    try:
        now = thin_devices.parse(lines)
        copies = [thin_devices.unpack(lines, prefix) for prefix in ("then-", "then-after-")]
        then = [thin_devices.known(of) for of in copies if of.pool is not None]
        known = containerd_records.read(thin_devices.unpack(lines).records)
    except Broken as error:
        raise Failed(
            f"{TASK}: containerd's database cannot be read",
            str(error),
            hint="without it, nothing tells which device is whose: restore the file first",
        ) from error
    stale = changes_since.stale(now, then, now.ids)
    owners = numbers(now)
    keys = [now.snapshots[owners[of.name]].key for of in stale if now.snapshots and of.name in owners]
    losses = changes_since.lines(stale, now, containerd_records.affected(known, keys))
    if not then and now.database:
        losses.append("whether a thin id was another device's then: it has no copy of containerd's databases")
    return Candidate(" ".join(path), identity, source, int(age), tuple(stale), tuple(losses))


def _refuse(found: Session, made: Candidate, *, sound: str) -> None:
    """Refuse without a yes.

    Raises:
        Refused: with all that would be lost.
    """
    again = hints.again(TASK, found.daemon, found.name, "--yes")
    if sound:
        raise Refused(
            f"the metadata of {found.name} is sound ({sound})",
            "\n".join([f"a restore takes it back to {made.source}: {hours(made.age)}", *made.losses]),
            hint=f"if that is what you want: {again}",
        )
    raise Refused(
        f"{made.source} lacks what containerd has made or changed since",
        "\n".join([hours(made.age), *made.losses]),
        hint=f"to continue and lose that: {again}",
    )


def hours(seconds: int) -> str:
    """How old that is, for reading."""
    if seconds < 0:
        return "made at a time that has not come by this machine's clock"
    return (
        f"{seconds // 86400} days old" if seconds >= 172800 else f"{seconds // 3600} h {seconds % 3600 // 60} min old"
    )
