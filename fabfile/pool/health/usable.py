"""Nothing to do is true only of a pool that takes writes: what no deploy puts right is refused by name."""

from __future__ import annotations

from fabfile.console import say
from fabfile.context import Context
from fabfile.errors import Refused
from fabfile.facts import Facts, about, gather
from fabfile.host import Host
from fabfile.plan import Change, Step
from fabfile.pool.health import rerun, visibility
from fabfile.pool.health.advice import blocking, databases
from fabfile.pool.health.finding import Advice


def step(host: Host, *, used: bool = False) -> Step:
    """The step that finds the host's pool well, and never changes anything; a pool that is still to be made is.

    Args:
        host: the machine.
        used: containerd is to use it after that.
    """
    return Step("pool", lambda have: plan(have, host.pool.dm_name, used=used), about(host))


def plan(have: Facts, name: str, *, used: bool = False) -> list[Change]:
    """Nothing.

    Raises:
        Refused: the kernel takes no writes on it, or LVM would not bring it back; or, where it is to be `used`,
            containerd's databases are not this pool's.
    """
    _refuse(name, [*blocking(have, name), *(databases(have, name) if used else [])])
    return []


def say_stopped(c: Context, host: Host) -> None:
    """Say which containerd a pool that was just made or brought back did not bring back with it."""
    if daemon := rerun.stopped(gather(c, about(host)), host.pool.dm_name):
        say(f"{daemon} is on this pool and does not run: systemctl start {daemon}")


def refuse_unseen(have: Facts, name: str) -> None:
    """Refuse what needs LVM's metadata, where LVM does not see the pool as it is, or not all of its disks.

    One that is gone altogether is left to the caller: making it may have been interrupted.

    Raises:
        Refused: with the cause and the way out of it.
    """
    _refuse(
        name,
        [one for one in visibility.findings(have, name, have.instances.pools.get(name)) if one.what != visibility.GONE],
    )


def refuse_unusable(have: Facts, name: str, *, lvm: bool = False, ids: bool = False) -> None:
    """Refuse to look into a pool that answers nobody, or that LVM does not see as it is.

    Args:
        have: the machine.
        name: of the pool.
        lvm: LVM is needed also while the pool is up.
        ids: LVM's thin volumes in it, and its transaction id, are no hindrance.

    Raises:
        Refused: with the cause and the way out of it.
    """
    if have.pool.suspended:
        _refuse(name, blocking(have, name))
    lvm = lvm or have.pool.status is None
    found = visibility.findings(have, name, have.instances.pools.get(name))
    _refuse(name, [one for one in found if (not ids if one.what == visibility.IDS else lvm)])


def _refuse(name: str, found: list[Advice]) -> None:
    wrong = [one for one in found if one.result == "fail"]
    if wrong:
        raise Refused(f"the pool {name} is not healthy", "\n".join(one.found for one in wrong), hint=wrong[0].hint)
