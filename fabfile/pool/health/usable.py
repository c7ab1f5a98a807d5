"""Refusals of a pool that exists but cannot be used: converged means that a pool accepts writes."""

from __future__ import annotations

from fabfile.console import say
from fabfile.errors import Refused
from fabfile.facts import Facts, gather
from fabfile.facts.query import POOL, about
from fabfile.host import Host
from fabfile.plan import Change, Step
from fabfile.pool.health import activation, rerun, visibility
from fabfile.pool.health.finding import Finding
from fabfile.pool.health.findings import blocking, databases
from fabfile.remote.context import Context


def step(host: Host, *, used: bool = False) -> Step:
    """A step without changes that checks that the host's pool is healthy; a pool that does not exist yet passes.

    Args:
        host: the machine.
        used: also check containerd's databases, because containerd is to use the pool next.
    """
    return Step("pool", lambda have: plan(have, host.pool.dm_name, used=used), about(host, only=() if used else POOL))


def plan(have: Facts, name: str, *, used: bool = False) -> list[Change]:
    """Check the pool; the plan is always empty.

    Raises:
        Refused: the kernel accepts no writes to the pool, LVM would not activate it again, or (with `used`) the
            databases of containerd belong to another pool.
    """
    _refuse(name, [*blocking(have, name), *(databases(have, name) if used else [])])
    return []


def say_stopped(c: Context, host: Host) -> None:
    """Tell which containerd, stopped together with its pool, was not started again with it."""
    if daemon := rerun.stopped(gather(c, about(host, only=("instances",))), host.pool.dm_name):
        say(f"{daemon} is on this pool and does not run: systemctl start {daemon}")


def refuse_unseen(have: Facts, name: str) -> None:
    """Refuse what needs LVM's metadata if LVM does not see the pool or all of its disks.

    A pool that is gone altogether is left to the caller: its creation may have been interrupted.

    Raises:
        Refused: with the cause and the fix.
    """
    _refuse(
        name,
        [one for one in visibility.findings(have, name, have.instances.pools.get(name)) if one.what != visibility.GONE],
    )


def refuse_unusable(have: Facts, name: str, *, lvm: bool = False, ids: bool = False) -> None:
    """Refuse to inspect a pool that is suspended, or that LVM does not see as it is.

    Args:
        have: facts of the machine.
        name: the pool's name.
        lvm: LVM is needed even while the pool is active.
        ids: accept LVM's own thin volumes in the pool, and another transaction id.

    Raises:
        Refused: with the cause and the fix.
    """
    if have.pool.suspended:
        _refuse(name, blocking(have, name))
    lvm = lvm or have.pool.status is None
    found = visibility.findings(have, name, have.instances.pools.get(name))
    always = {activation.OTHER} if ids else {activation.OTHER, visibility.IDS}
    _refuse(name, [one for one in found if one.what in always or (lvm and one.what != visibility.IDS)])


def _refuse(name: str, found: list[Finding]) -> None:
    wrong = [one for one in found if one.result == "fail"]
    if wrong:
        raise Refused(f"the pool {name} is not healthy", "\n".join(one.found for one in wrong), hint=wrong[0].hint)
