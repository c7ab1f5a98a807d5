"""Compare the four records of a pool's thin devices, and reconcile them while containerd is stopped."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from time import sleep

import msgspec

from fabfile import hints
from fabfile.bolt import Broken
from fabfile.console import say
from fabfile.errors import Failed
from fabfile.plan import Change, Command, Upload
from fabfile.pool.maintain import actions, changes_since, containerd_records, database_files, thin_devices
from fabfile.pool.maintain.actions import Blob, InspectedPool
from fabfile.pool.maintain.check import refusal
from fabfile.pool.maintain.containerd_records import Affected
from fabfile.pool.maintain.corrections import Corrections, corrections
from fabfile.pool.maintain.database_files import Files
from fabfile.pool.maintain.disagreements import Orphans, agreed, orphans
from fabfile.pool.maintain.thin_devices import DatabaseEntry, View
from fabfile.remote.context import Context
from fabfile.render import render
from fabfile.shell import words

APART = 2.0
"""Seconds between two comparisons of a pool in use; most operations in progress finish within that time."""

KEEP = 8
"""Number of backups, and of copies of the databases, to keep."""

COMPARISONS = 3
"""Number of comparisons of a pool in use that seems inconsistent.

Thin ids are few and soon reused, so two comparisons may see one id of two devices, each being created or removed.
"""


class Comparison(msgspec.Struct, frozen=True):
    """One comparison."""

    view: View
    files: Files
    found: Orphans


def compare(c: Context, task: str, pool: InspectedPool, *, running: bool) -> Comparison:
    """Compare the four records.

    While containerd runs, an inconsistency counts only if each of `COMPARISONS` comparisons finds it.

    Args:
        c: the machine.
        task: name of the task that compares.
        pool: the pool.
        running: whether containerd runs.

    Raises:
        Failed: a database cannot be read, or keeps changing; or the kernel does not show the pool's metadata.
    """
    if against := refusal(pool.have):
        raise Failed(
            f"the pool {pool.name} cannot be compared with anything",
            against,
            hint=hints.command("pool.repair", pool.daemon, pool.name),
        )
    seen = _compare_once(c, task, pool, running=running)
    for _ in range(COMPARISONS - 1):
        if not running or not seen.found.count:
            break
        sleep(APART)
        pool = actions.applied(pool)
        later = _compare_once(c, task, pool, running=True)
        both = agreed(seen.found, later.found)
        ids = tuple(id for id in both.ids if seen.view.ids[id].created == later.view.ids[id].created)
        seen = Comparison(later.view, later.files, msgspec.structs.replace(both, ids=ids))
    return _with_holders(c, task, actions.applied(pool), seen)


def _with_holders(c: Context, task: str, pool: InspectedPool, seen: Comparison) -> Comparison:
    """Add who has the unexpected devices open, which requires a look at every process."""
    names = [device.name for device in (*seen.found.busy, *seen.found.mixed) if device.open]
    if not names:
        return seen
    script = render("pool/holders.sh.j2", pool=pool, daemon=pool.daemon, devices=names)
    printed = actions.do(c, task, pool, [Command("find out what has them open", script)], read_only=True)
    return msgspec.structs.replace(
        seen, view=msgspec.structs.replace(seen.view, holders=thin_devices.holders(printed.splitlines()))
    )


def reading(pool: InspectedPool) -> Command:
    """Print what the pool, containerd's two databases and device mapper each know about the thin devices."""
    script = render("pool/thins.sh.j2", pool=pool, daemon=pool.daemon)
    return Command("the four records of the thin devices", script)


def _compare_once(c: Context, task: str, pool: InspectedPool, *, running: bool) -> Comparison:
    printed = actions.do(c, task, pool, [reading(pool)], read_only=True)
    lines = printed.splitlines()
    try:
        seen, files = thin_devices.parse(lines), database_files.unpack(lines)
        known = [one.backend for one in containerd_records.read(files.records).snapshots]
        return Comparison(seen, files, orphans(seen, running=running, known=known))
    except Broken as error:
        raise Failed(f"{pool.database} or {pool.snapshots} cannot be read", str(error), hint=HINT) from error


HINT = "stop containerd and try again; copies of them are beside the backups of the metadata"


def reconcile(
    c: Context,
    task: str,
    pool: InspectedPool,
    seen: Comparison | None = None,
    stale: Iterable[DatabaseEntry] | None = None,
) -> Affected:
    """Reconcile the four records, while containerd is stopped and the pool is active.

    Args:
        c: the machine.
        task: name of the task that does it.
        pool: the pool.
        seen: a comparison made since containerd was stopped; None: compare now.
        stale: after a restore: entries that no longer have a device of their own.

    Returns:
        The consequences for images and containers, for `forget` once containerd runs.

    Raises:
        Failed: a database cannot be read.
    """
    if seen is None:
        seen = compare(c, task, pool, running=False)
        if seen.view.database is None:  # without it nobody knows whose the thin ids are, so none may be removed
            seen = msgspec.structs.replace(seen, found=msgspec.structs.replace(seen.found, ids=(), devices=()))
    try:
        todo = corrections(seen.view, seen.files, seen.found, stale or ())
        known = containerd_records.read(seen.files.records)
    except Broken as error:
        raise Failed(f"containerd's databases of {pool.name} cannot be read", str(error), hint=HINT) from error
    if todo.changes:
        # A backup of restored metadata with databases that do not fit would say that they do.
        kept = back_up(pool) if stale is None else copy_databases(pool)
        actions.do(c, task, pool, [kept, *changes(pool, todo)])
        if todo.devices or todo.ids:
            say(f"removed {len(todo.devices)} devices and {len(todo.ids)} thin ids")
        for path, content in ((pool.database, todo.files.pool), (pool.snapshots, todo.files.snapshots)):
            if content is not None:
                say(f"{path}: corrected; a copy of the old file is in {pool.backups}")
    return containerd_records.affected(known, todo.lost)


def back_up(pool: InspectedPool) -> Command:
    """Back up the pool's metadata, with copies of both databases."""
    return Command("a backup first", pool.render("backup", keep=KEEP))


def copy_databases(pool: InspectedPool) -> Command:
    """Copy the databases to where the backups are."""
    return Command("copies of the databases first", render("pool/copies.sh.j2", pool=pool, keep=KEEP))


def changes(pool: InspectedPool, todo: Corrections) -> list[Change]:
    """The changes that make the corrections."""
    plan: list[Change] = []
    lines = [*(f"dm {device.name} {device.number}" for device in todo.devices), *(f"id {id}" for id in todo.ids)]
    if lines:
        script = render("pool/fsck.sh.j2", pool=pool, daemon=pool.daemon)
        why = f"remove {len(todo.devices)} devices and {len(todo.ids)} thin ids"
        plan.append(Upload(why, Blob("orphans", "".join(f"{line}\n" for line in lines).encode()), script))
    for path, content in ((pool.database, todo.files.pool), (pool.snapshots, todo.files.snapshots)):
        if content is not None:
            script = render("pool/install.sh.j2", daemon=pool.daemon, path=path)
            plan.append(Upload(f"{path} without its inconsistencies", Blob("database", _packed(content)), script))
    return plan


def _packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def forget(c: Context, task: str, pool: InspectedPool, means: Affected) -> None:
    """Have the running containerd forget lost snapshots, and unpack the images again whose layers they were.

    Args:
        c: the machine.
        task: name of the task that does it.
        pool: the pool.
        means: the consequences of the loss.
    """
    if not means.remove and not means.images:
        for line in changes_since.meaning(means):
            say(line)
        return
    lines = [f"rm\t{snapshot.namespace}\t{snapshot.key}\t" for snapshot in means.remove]
    lines += [f"unpack\t{image.namespace}\t{image.digest}\t{image.name}" for image in means.images]
    script = render("pool/forget.sh.j2", daemon=pool.daemon)
    upload = Upload(
        f"containerd forgets {len(means.remove)} lost snapshots and unpacks {len(means.images)} images again",
        Blob("lost", "".join(f"{line}\n" for line in lines).encode()),
        script,
    )
    printed = actions.do(c, task, pool, [upload])
    for line in printed.splitlines():
        what, _, rest = line.partition(" ")
        space, _, image = rest.partition(" ")
        if what == "@unpacked":
            say(f"image {image} in the namespace {space}: unpacked again")
        elif what == "@pull":
            image, _, why = image.partition(" ")
            pull = words("-n", space, "images", "pull", "--snapshotter", "devmapper", image)
            say(f"image {image} in the namespace {space}: {why}\n  pull it again: {pool.daemon.ctr} {pull}")
        elif what == "@kept":
            say(f"containerd keeps the lost snapshot {rest}")
    for container in means.containers:
        say(f"container {container.name} in the namespace {container.namespace}: its file system is lost; remove it")
    for known in means.stay:
        say(f"snapshot {known.key} in the namespace {known.namespace}: lost, and kept by those on it")
