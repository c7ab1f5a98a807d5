"""Check that the pool, containerd's two databases and device mapper agree on the thin devices."""

from __future__ import annotations

import msgspec

from fabfile import hints, sizes, systemd
from fabfile.errors import Failed, Refused
from fabfile.output.answer import show
from fabfile.output.outcome import result
from fabfile.plan import Command
from fabfile.pool.maintain import actions, changes_since, comparison
from fabfile.pool.maintain.actions import InspectedPool
from fabfile.pool.maintain.comparison import Comparison
from fabfile.pool.maintain.containerd_records import Affected
from fabfile.pool.maintain.disagreements import Orphans, lines
from fabfile.pool.maintain.downtime import down
from fabfile.pool.maintain.thin_devices import View
from fabfile.remote import target
from fabfile.remote.context import Context
from fabfile.shell import words

TOOLS = ("dmsetup", "thin_ls", "thin_dump")
TASK = "pool.fsck"


def remedy(pool: InspectedPool, left: Orphans) -> str:
    """The fix for the inconsistencies that remain; empty if there are none."""
    fix = hints.again(TASK, pool.daemon, pool.name, "--fix")
    if left.busy or any(device.open for device in left.mixed):
        return f"end who has the device open, then {fix}"
    if other := next((device.name for device in left.mixed if not device.replaceable), ""):
        aside = words("dmsetup", "rename", other, f"{other}.before")
        return f"move what is not containerd's out of the way: {hints.on_host(aside)}; then {fix}"
    if left.older:
        return "remove the image or container of each, and pull that image again: its content is another's"
    return fix if left.count else ""


class Compared(msgspec.Struct, frozen=True):
    """The outcome of a comparison, after repairs if there were any."""

    orphans: Orphans
    seen: View


def compare_records(c: Context, name: str, instance: str, *, fix: bool, yes: bool) -> None:
    """Print the inconsistencies of a pool, and repair them if asked to.

    Args:
        c: the machine.
        name: see `actions.find`.
        instance: see `actions.find`.
        fix: repair them.
        yes: consent to a repair that removes every thin id of the pool.

    Raises:
        Failed: inconsistencies remain, or containers have lost their file system.
        Refused: a database is missing, or `yes` is needed.
    """
    pool = actions.find(c, name, instance, TOOLS)
    daemon = pool.have.containerd
    running = daemon.active or bool(daemon.changing)
    seen = comparison.compare(c, TASK, pool, running=running)
    means = Affected()
    if fix and not target.is_dry(c) and seen.found.count:
        _report(pool, seen)
        means = _fixed(c, pool, yes=yes)
        seen = comparison.compare(c, TASK, pool, running=True)
    result(Compared(seen.found, seen.view))
    _report(pool, seen)
    if seen.found.count:
        way = remedy(pool, seen.found)
        raise Failed(
            f"pool {pool.name}: {seen.found.count} inconsistenc{'y' if seen.found.count == 1 else 'ies'}", hint=way
        )
    if means.containers:
        first = means.containers[0]
        remove = f"{pool.daemon.ctr} -n {words(first.namespace)} containers rm {words(first.name)}"
        raise Failed(
            f"pool {pool.name}: repaired, but {len(means.containers)} containers have lost their file system",
            "\n".join(changes_since.meaning(means)),
            hint=f"remove its image or container: {remove}",
        )


def _report(pool: InspectedPool, seen: Comparison) -> None:
    for path, there in ((pool.database, seen.view.database), (pool.snapshots, seen.view.snapshots)):
        if there is None:
            show(f"{path} does not exist: containerd has never used this pool, or lost the file")
    block = pool.have.pool.table.block_sectors * sizes.SECTOR if pool.have.pool.table else 0
    for line in lines(seen.found, seen.view, block):
        show(line)
    if not seen.found.count:
        count = len(seen.view.database or {})
        show(f"pool {pool.name}: {len(seen.view.ids)} thin ids, {count} entries, {len(seen.view.snapshots or {})}"
            f" snapshots, {len(seen.view.devices)} devices: they agree")  # fmt: skip


def _fixed(c: Context, pool: InspectedPool, *, yes: bool) -> Affected:
    """Reconcile the records while containerd is stopped, and start it again.

    It is stopped, not frozen: clients of a frozen daemon hang, and if we were killed, it would stay frozen.
    """
    unit = pool.daemon.unit
    systemd.refuse_killing(pool.have, pool.daemon)
    stop = Command(f"stop {unit}: no device is created meanwhile", words("systemctl", "stop", unit))
    actions.do(c, TASK, pool, [stop])
    with down(c, TASK, pool):
        seen = comparison.compare(c, TASK, pool, running=False)
        refuse_all(pool, seen.found, seen.view, yes=yes)
        means = comparison.reconcile(c, TASK, pool, seen)
    comparison.forget(c, TASK, pool, means)
    return means


def refuse_all(pool: InspectedPool, result: Orphans, seen: View, *, yes: bool) -> None:
    """Refuse a repair where one of the records as a whole seems to be at fault.

    Raises:
        Refused: without --yes, if a database is missing, every thin id of the pool would be deleted, or every thin
            device that containerd uses would be given up.
    """
    again = hints.again(TASK, pool.daemon, pool.name, "--fix", "--yes")
    for path, there in ((pool.database, seen.database), (pool.snapshots, seen.snapshots)):
        if there is None and seen.ids and not yes:
            raise Refused(
                f"{path} is missing, and the pool has {len(seen.ids)} thin devices",
                "without it, it is not known which of them containerd needs",
                hint=f"restore the file; or remove them all, and have containerd unpack its images again, where it has"
                f" their content: {again}",
            )
    going = set(result.ids) | {entry.id for entry in result.unowned if entry.id in seen.ids}
    if going and len(going) == len(seen.ids) and not yes:
        raise Refused(
            f"none of the {len(seen.ids)} thin devices of {pool.name} is in containerd's databases",
            "removing them would empty the pool: are these the right databases?",
            hint=f"if that is what you want: {again}",
        )
    if result.entries and not yes and not {entry.id for entry in (seen.database or {}).values()} & seen.ids.keys():
        raise Refused(
            f"none of the {len(result.entries)} thin devices that containerd uses is in the pool {pool.name}",
            "all images and containers would be lost: is this the right metadata?",
            hint=f"a backup may have them: {pool.command('pool.restore')}; to continue without them: {again}",
        )
