"""Whether the pool, containerd's database and device mapper agree on the thin devices; what only one of them has.

A thin id that no entry names holds space for ever, and is in the way of containerd when it hands the number out again.
An entry whose thin id is gone makes containerd's start fail, or a container's. A device that no entry names keeps the
pool from going down.
"""

from __future__ import annotations

import msgspec
from invoke import Context, task

from fabfile import sizes, target
from fabfile.bolt import Broken
from fabfile.console import say
from fabfile.daemon import INSTANCE
from fabfile.errors import Failed, Refused
from fabfile.plan import Command, as_json, words
from fabfile.render import render
from fabfile.steps.pool import action, view
from fabfile.steps.pool.action import Found
from fabfile.steps.pool.repair import start
from fabfile.steps.pool.view import Device, Entry, View

TOOLS = ("dmsetup", "thin_ls", "thin_dump")


class Orphans(msgspec.Struct, frozen=True):
    """What does not belong together, each kind by itself."""

    ids: tuple[int, ...] = ()
    """In the pool, without an entry."""
    devices: tuple[Device, ...] = ()
    """Active, without an entry, and not open."""
    busy: tuple[Device, ...] = ()
    """The same, open."""
    entries: tuple[Entry, ...] = ()
    """Without a thin id."""
    mixed: tuple[Device, ...] = ()
    """Active under a name whose entry has another thin id."""

    @property
    def count(self) -> int:
        """How many."""
        return len(self.ids) + len(self.devices) + len(self.busy) + len(self.entries) + len(self.mixed)


def orphans(seen: View, *, running: bool) -> Orphans:
    """What does not belong together.

    Args:
        seen: what each says.
        running: containerd runs: an entry that is in work is not judged, and neither is its thin id.
    """
    entries = seen.database or {}
    named = {entry.id for entry in entries.values()}
    strangers = [device for device in seen.devices if device.name not in entries]
    judged = [entry for entry in entries.values() if not (running and entry.state in view.MOVING)]
    # What is active is in use by somebody: its id goes only after it.
    held = {device.id for device in strangers if device.open}
    return Orphans(
        ids=tuple(sorted(seen.ids.keys() - named - held)),
        devices=tuple(device for device in strangers if not device.open),
        busy=tuple(device for device in strangers if device.open),
        entries=tuple(view.missing(seen.ids, judged)),
        mixed=tuple(
            device for device in seen.devices if device.name in entries and entries[device.name].id != device.id
        ),
    )


def lines(found: Orphans, seen: View, block: int) -> list[str]:
    """What was found, for reading.

    Args:
        found: the orphans.
        seen: what they were found in.
        block: bytes of a block of the pool.
    """
    entries = seen.database or {}
    return [
        *(
            f"thin id {id}: {sizes.human(seen.ids[id] * block)} in the pool, no entry in containerd's database"
            for id in found.ids
        ),
        *(f"device {device.name}: thin id {device.id}, no entry in containerd's database" for device in found.devices),
        *(f"device {device.name}: the same, and it is open: see who uses it" for device in found.busy),
        *(
            f"entry {entry.name}: thin id {entry.id} ({entry.state}) is not in the pool"
            f"{': ' + entry.error if entry.error else ''}"
            for entry in found.entries
        ),
        *(
            f"device {device.name}: it has thin id {device.id}, its entry {entries[device.name].id}"
            for device in found.mixed
        ),
    ]


def look(c: Context, found: Found) -> View:
    """What each of the three says now.

    Raises:
        Failed: containerd's database cannot be read, or does not come to rest.
    """
    script = render("pool/thins.sh.j2", pool=found)
    printed = action.do(c, "pool.fsck", found, lambda have: [Command("what each says of the thin devices", script)])
    try:
        return view.parse(printed.splitlines())
    except Broken as error:
        raise Failed(f"{found.database} cannot be read", str(error), hint="stop containerd and try again") from error


def way_out(found: Found, left: Orphans) -> str:
    """What to do about what is not removed here."""
    ctr = f"{found.daemon.ctr} -n NAMESPACE snapshots --snapshotter devmapper"
    if left.entries:
        return f"an entry without its device: remove its image or container, or {ctr} rm KEY; or, if many, pool.restore"
    if left.busy:
        return f"who has it open: {words('findmnt', '-S', f'/dev/mapper/{left.busy[0].name}')}"
    return "pool.fsck --fix" if left.count else ""


@task(
    help={
        "fix": "remove what is safe to remove; containerd is stopped meanwhile, its containers run on",
        "yes": "also if that is every thin id of the pool",
        "name": "of the pool",
        "instance": INSTANCE,
        "json": "as JSON",
    }
)
def fsck(
    c: Context, fix: bool = False, yes: bool = False, name: str = "", instance: str = "", json: bool = False
) -> None:
    """Name thin ids, database entries and devices that do not belong together; remove them with --fix."""
    found = action.find(c, name, instance, TOOLS)
    if fix and not target.is_dry(c):
        result, seen = _fixed(c, found, yes=yes)
    else:
        seen = look(c, found)
        daemon = found.have.containerd
        result = orphans(seen, running=daemon.active or bool(daemon.changing))
    if json:
        say(as_json({"orphans": result, "seen": seen}))
    else:
        _report(found, result, seen)
    if result.count:
        raise Failed(f"pool {found.name}: {result.count} things do not belong together", hint=way_out(found, result))


def _report(found: Found, result: Orphans, seen: View) -> None:
    if seen.database is None:
        say(f"{found.database} is not there: containerd has never used this pool, or lost it")
    block = found.have.pool.table.block_sectors * sizes.SECTOR if found.have.pool.table else 0
    for line in lines(result, seen, block):
        say(line)
    if not result.count:
        count = len(seen.database or {})
        say(f"pool {found.name}: {len(seen.ids)} thin ids, {count} entries, {len(seen.devices)} devices: they agree")


def _fixed(c: Context, found: Found, *, yes: bool) -> tuple[Orphans, View]:
    """Remove what is safe to remove while containerd is stopped, start it again, and look again.

    Stopped, not frozen: a frozen daemon leaves its clients hanging, and whatever kills us would leave it frozen.
    """
    unit = found.daemon.unit
    stop = Command(f"stop {unit}: nobody makes a device meanwhile", words("systemctl", "stop", unit))
    up = start(found)
    action.do(c, "pool.fsck", found, lambda have: [stop])
    try:
        seen = look(c, found)
        result = orphans(seen, running=False)
        refuse_all(found, result, seen, yes=yes)
        if result.ids or result.devices:
            backup = render("pool/backup.sh.j2", pool=found, keep=8)
            script = render("pool/fsck.sh.j2", pool=found, daemon=found.daemon, ids=result.ids, devices=result.devices)
            why = f"remove {len(result.devices)} devices and {len(result.ids)} thin ids that nobody names"
            action.do(c, "pool.fsck", found, lambda have: [Command("a backup first", backup), Command(why, script)])
            _report(found, result, seen)
            say("removed: the devices and thin ids among them")
            seen = look(c, found)
            result = orphans(seen, running=False)
    finally:
        action.do(c, "pool.fsck", found, lambda have: [up])
    return result, seen


def refuse_all(found: Found, result: Orphans, seen: View, *, yes: bool) -> None:
    """Refuse to delete where the database, not the pool, looks like what is wrong.

    Raises:
        Refused: there is no database, or every thin id of the pool would go.
    """
    if seen.database is None and seen.ids:
        raise Refused(
            f"{found.database} is not there, and the pool has {len(seen.ids)} thin devices",
            "without it nobody knows which of them containerd needs",
            hint="restore the file; to give up what is on the pool: pool.reset",
        )
    if result.ids and len(result.ids) == len(seen.ids) and not yes:
        raise Refused(
            f"none of the {len(seen.ids)} thin devices of {found.name} is in containerd's database",
            "removing them would empty the pool: is it the right database?",
            hint="if that is what you want: pool.fsck --fix --yes",
        )
