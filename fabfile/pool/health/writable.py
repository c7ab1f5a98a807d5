"""Whether the files of a loop pool can be written; if not, the kernel finds out only when it writes to them."""

from __future__ import annotations

from fabfile import hints
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.record import LoopRecord
from fabfile.pool import units
from fabfile.pool.health.finding import Finding
from fabfile.pool.ownership import owner
from fabfile.shell import words


def findings(have: Facts, name: str) -> list[Finding]:
    """Report that the file system under a loop pool of ours takes no writes.

    Args:
        have: facts of the machine.
        name: the pool's name.
    """
    recorded, place = have.instances.pools.get(name), have.pool.place
    if not isinstance(recorded, LoopRecord) or not have.pool.data or place is None or not place.read_only:
        return []
    where = place.target.replace(r"\x20", " ")
    found = f"{recorded.data} cannot be written: the file system at {where} takes no writes, for example after an error"
    daemon, unit = owner(recorded).unit, words(units.unit(name))
    mount = words("mount", "-o", "remount,rw", where)
    again = f"{mount} && systemctl restart {unit} && systemctl start {daemon}"
    check = f"unmount it, check it with {'xfs_repair' if place.type == 'xfs' else 'e2fsck -f'}, and mount it again"
    if where == "/":
        check = "reboot, which checks it"
    way = f"see dmesg; then {hints.on_host(again)}; where that fails: stop what uses it, {check}"
    return [Finding("pool files", "fail", found, way)]


def refuse(have: Facts, name: str) -> None:
    """Refuse a pool whose files cannot be written.

    Raises:
        Refused: with the fix.
    """
    for one in findings(have, name):
        raise Refused(f"the pool {name} is not healthy", one.found, one.hint)
