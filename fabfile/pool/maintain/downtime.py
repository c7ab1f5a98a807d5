"""Stop containerd and the pool for maintenance, and start them again; refused first if something would be disrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fabfile import hints
from fabfile.console import say
from fabfile.errors import Failed, Problem, Refused, Unreachable
from fabfile.plan import Command
from fabfile.pool.maintain import actions
from fabfile.pool.maintain.actions import InspectedPool
from fabfile.pool.maintain.check import refusal
from fabfile.remote import target
from fabfile.remote.context import Context
from fabfile.render import render

REBOOT = "only a reboot"
"""What the script prints about a device that no process will ever release."""


def refuse_busy(c: Context, task: str, pool: InspectedPool, *, force: bool) -> None:
    """Refuse while something that will not end, or must not be ended, has a device of the pool open.

    Args:
        c: the machine.
        task: name of the task that would stop the pool.
        pool: the pool.
        force: containers are accepted, and killed later.

    Raises:
        Refused: with everything that has a device open.
    """
    values = {"pool": pool, "daemon": pool.daemon, "force": force}
    script = "".join(render(f"pool/{part}.sh.j2", **values) for part in ("common", "held"))
    script += render("containerd/containers.sh.j2", **values) + render("pool/blockers.sh.j2", **values)
    said = target.sh(c, f"{script}blockers\n", "listing what uses the pool", read_only=True)
    if not said.strip():
        return
    hint = "stop what is listed"
    if REBOOT in said:
        hint = "reboot the host, then run it again: nothing else releases that device"
    elif not force:
        again = hints.again(task, pool.daemon, pool.name, "--force")
        hint = f"stop the containers and what else is listed; or have the containers killed: {again}"
    raise Refused(f"{task}: the pool {pool.name} is in use", said, hint=hint)


def stop(pool: InspectedPool, *, force: bool) -> Command:
    """Stop containerd, and then the pool.

    Args:
        pool: the pool.
        force: kill the containers that run on it.
    """
    script = render("pool/common.sh.j2", pool=pool)
    script += render("pool/stop.sh.j2", pool=pool, daemon=pool.daemon, force=force)
    return Command(f"stop {pool.daemon.unit} and the pool {pool.name}", script)


def start(pool: InspectedPool) -> Command:
    """Start the pool and, unless its metadata is being restored, containerd."""
    script = render("pool/start.sh.j2", pool=pool, daemon=pool.daemon)
    return Command(f"start the pool {pool.name} and {pool.daemon.unit}", script)


@contextmanager
def down(c: Context, task: str, pool: InspectedPool) -> Iterator[None]:
    """Within this context, containerd and the pool may be stopped; at its end both are started and checked.

    If something fails within it, they are started all the same, see `start`, and that failure is reported.

    Raises:
        Failed: the pool does not work afterwards, or containerd does not use it.
    """
    try:
        yield
    except Problem:
        resume(c, task, pool)
        raise
    start_again(c, task, pool)


def start_again(c: Context, task: str, pool: InspectedPool) -> None:
    """Start the pool and containerd, and check both.

    Raises:
        Failed: the pool does not work, or containerd does not use it.
    """
    actions.do(c, task, pool, [start(pool)])
    up_again(c, pool, task)


def resume(c: Context, task: str, pool: InspectedPool) -> None:
    """Start what was stopped, after a failure; a second failure is only printed, as the first one is reported."""
    try:
        actions.do(c, task, pool, [start(pool)])
    except (Failed, Unreachable) as error:
        say(str(error), error=True)


def up_again(c: Context, pool: InspectedPool, task: str) -> None:
    """Check that the pool works and that containerd uses it.

    Raises:
        Failed: one of them does not.
    """
    have = actions.again(c, pool).have
    status, plugin = have.pool.status, have.containerd.plugin("snapshotter", "devmapper")
    if status is None or status.mode != "rw" or status.needs_check:
        why = refusal(have) or (status.mode if status else "the kernel has no such device")
        raise Failed(f"{task}: the pool {pool.name} does not work", why, hint=f"systemctl status {pool.unit}")
    if have.containerd.active and (plugin is None or plugin.status != "ok"):
        raise Failed(
            f"{task}: the pool works, but containerd does not use it",
            have.containerd.reason or "its devmapper plugin is not ok",
            hint=f"see what differs: {pool.command('pool.fsck')}",
        )
    daemon = "runs" if have.containerd.active else have.containerd.changing or "does not run"
    say(f"pool {pool.name}: {status.mode}; {pool.daemon.unit} {daemon}")
