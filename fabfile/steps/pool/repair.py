"""Bring a pool with damaged metadata back: repaired from what is left of it, or restored from a backup.

The metadata in use is never written to. New metadata is made in a place of its own, checked, compared with what
containerd counts on, and only then takes the place of the old, which is kept.
"""

from __future__ import annotations

import re

from invoke import Context, task

from fabfile import target
from fabfile.bolt import Broken
from fabfile.console import say
from fabfile.daemon import INSTANCE
from fabfile.errors import Failed, Refused
from fabfile.plan import Command
from fabfile.render import render
from fabfile.steps.pool import action, view
from fabfile.steps.pool.action import Found
from fabfile.steps.pool.check import refusal, verdict
from fabfile.steps.pool.view import View

TOOLS = ("dmsetup", "thin_check", "thin_ls", "thin_repair", "thin_restore")


def stop(found: Found, *, force: bool) -> Command:
    """Take down containerd and the pool, in this order."""
    script = render("pool/common.sh.j2", pool=found)
    script += render("pool/stop.sh.j2", pool=found, daemon=found.daemon, force=force)
    return Command(f"stop {found.daemon.unit} and the pool {found.name}", script)


def start(found: Found) -> Command:
    """Bring the pool and containerd up."""
    script = render("pool/start.sh.j2", pool=found, daemon=found.daemon)
    return Command(f"start the pool {found.name} and {found.daemon.unit}", script)


def swap(found: Found, candidate: str) -> Command:
    """Put new metadata in the place of the old."""
    script = render("pool/swap.sh.j2", pool=found, candidate=candidate)
    return Command("the new metadata takes the place of the old, which is kept", script)


def losses(seen: View) -> list[str]:
    """What containerd counts on and new metadata does not have, a line each."""
    entries = (seen.database or {}).values()
    lost = view.missing(seen.ids, entries)
    return [f"{entry.name}: thin id {entry.id} ({entry.state}) is not in it" for entry in lost]


def read(printed: str, task: str) -> View:
    """What a script said of new metadata and containerd's database.

    Raises:
        Failed: the database cannot be read.
    """
    try:
        return view.parse(printed.splitlines())
    except Broken as error:
        raise Failed(
            f"{task}: containerd's database cannot be read",
            str(error),
            hint="without it nobody knows which device is whose: restore the file first",
        ) from error


def up_again(c: Context, found: Found, task: str) -> None:
    """Look whether the pool works and containerd uses it.

    Raises:
        Failed: one of them does not.
    """
    have = action.again(c, found).have
    status, plugin = have.pool.status, have.containerd.plugin("snapshotter", "devmapper")
    if status is None or status.mode != "rw" or status.needs_check:
        why = refusal(have) or (status.mode if status else "the kernel has no such device")
        raise Failed(f"{task}: the pool {found.name} does not work", why, hint=f"systemctl status {found.unit}")
    if have.containerd.active and (plugin is None or plugin.status != "ok"):
        raise Failed(
            f"{task}: the pool works, containerd does not take it",
            have.containerd.reason or "its devmapper plugin is not ok",
            hint="pool.fsck names what differs",
        )
    daemon = "runs" if have.containerd.active else have.containerd.changing or "does not run"
    say(f"pool {found.name}: {status.mode}; {found.daemon.unit} {daemon}")


def kept(printed: str) -> str:
    """Where a script left the old metadata."""
    return " ".join(action.answer(printed, "kept") or ["as it was, in its place"])


@task(
    help={
        "force": "also while containers run on the pool: they are killed",
        "yes": "also when devices that containerd counts on are lost",
        "name": "of the pool",
        "instance": INSTANCE,
    }
)
def repair(c: Context, force: bool = False, yes: bool = False, name: str = "", instance: str = "") -> None:
    """Repair a pool's damaged metadata into a new place; the old stays."""
    found = action.find(c, name, instance, TOOLS)
    script = render("pool/repair.sh.j2", pool=found)
    database = Command("what containerd counts on", render("pool/database.sh.j2", pool=found))
    changes = [stop(found, force=force), Command(f"thin_repair of {found.name} into new metadata", script), database]
    finish = [start(found)] if found.direct else [swap(found, found.candidate), start(found)]
    if target.is_dry(c):
        action.do(c, "pool.repair", found, lambda have: [*changes, *finish])
    state = verdict(c, "pool.repair", found)
    if state.good:
        if found.have.pool.status is None:
            action.do(c, "pool.repair", found, lambda have: [start(found)])
            up_again(c, found, "pool.repair")
        say(f"pool {found.name}: sound ({state.what}): nothing to repair")
        return
    say(f"pool {found.name}: {state.what}: not sound\n{state.details}".rstrip())
    printed = action.do(c, "pool.repair", found, lambda have: [*changes])
    old = f"\nthe old metadata: {kept(printed)}" if found.direct else ""
    lost = losses(read(printed, "pool.repair"))
    if lost and not yes:
        there = old or f"\nthe new metadata is in {found.candidate}, the old in its place"
        raise Failed(
            f"the repaired metadata of {found.name} lacks devices that containerd counts on",
            "\n".join(lost) + there,
            hint="a backup may have them: pool.restore; to go on without them: pool.repair --yes",
        )
    printed += "\n" + action.do(c, "pool.repair", found, lambda have: [*finish])
    up_again(c, found, "pool.repair")
    say(f"the old metadata: {kept(printed)}")


@task(
    help={
        "from_": "the backup, a file on the machine; by default the newest of pool.backup",
        "force": "also while containers run on the pool: they are killed",
        "yes": "also on a sound pool, or when devices that containerd counts on are not in the backup",
        "name": "of the pool",
        "instance": INSTANCE,
    }
)
def restore(
    c: Context, from_: str = "", force: bool = False, yes: bool = False, name: str = "", instance: str = ""
) -> None:
    """Put a backup in the place of a pool's metadata, which is kept; what was written since is lost."""
    if from_ and not re.fullmatch(r"/[^\n\0]+", from_):
        raise Refused(f"from: {from_!r} is not an absolute path", "a file on the machine", hint="see pool.backup")
    found = action.find(c, name, instance, TOOLS)
    if not (yes or target.is_dry(c)):
        state = verdict(c, "pool.restore", found)
        if state.good:
            raise Refused(
                f"the metadata of {found.name} is sound ({state.what})",
                "a restore takes it back to the backup: what was written since is lost",
                hint="if that is what you want: pool.restore --yes",
            )
    script = render("pool/common.sh.j2", pool=found) + render("pool/restore.sh.j2", pool=found, source=from_)
    database = Command("what containerd counts on", render("pool/database.sh.j2", pool=found))
    make = [Command(f"new metadata from {from_ or 'the newest backup'}", script), database]
    printed = action.do(c, "pool.restore", found, lambda have: [*make])
    candidate, source, age = action.answer(printed, "candidate") or ("", "", "0")
    lost = losses(read(printed, "pool.restore"))
    if lost and not yes:
        drop = Command("the new metadata goes again", render("pool/drop.sh.j2", pool=found, candidate=candidate))
        action.do(c, "pool.restore", found, lambda have: [drop])
        raise Refused(
            f"{source} lacks devices that containerd counts on",
            "\n".join([f"it is {hours(int(age))} old", *lost]),
            hint="an older state of all: pool.restore --yes; an entry without its device goes by ctr snapshots rm",
        )
    say(f"{source} is {hours(int(age))} old; what was written since is lost")
    finish = [stop(found, force=force), swap(found, candidate), start(found)]
    printed = action.do(c, "pool.restore", found, lambda have: [*finish])
    up_again(c, found, "pool.restore")
    say(f"the metadata until now: {kept(printed)}")


def hours(seconds: int) -> str:
    """How long that is, for reading."""
    return f"{seconds // 86400} days" if seconds >= 172800 else f"{seconds // 3600} h {seconds % 3600 // 60} min"
