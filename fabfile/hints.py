"""Hints that can be pasted: commands with the options that select the same machine, containerd and pool.

A hint without its `--instance` or `--name` would be about another pool, which the operator could lose.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

from fabfile import inventory
from fabfile.errors import Refused
from fabfile.host import Host
from fabfile.instance import DEFAULT, Daemon

NAMED = frozenset(
    {
        "pool.adopt",
        "pool.backup",
        "pool.check",
        "pool.fsck",
        "pool.grow",
        "pool.kept",
        "pool.loop",
        "pool.repair",
        "pool.rescue",
        "pool.reset",
        "pool.restore",
        "pool.status",
        "pool.trim",
    }
)
"""Tasks with --name, the pool; a unit test compares this with the tasks."""

DESTROYS = frozenset({"pool.reset"})
"""Tasks whose hint always names the pool, as the inventory may have changed by the time it is typed."""

WHOLE = frozenset(
    {
        "containerd.build",
        "containerd.install",
        "inventory.show",
        "packages",
        "pool.disks",
        "run",
        "runc.install",
        "toolchain.go",
        "toolchain.protoc",
    }
)
"""Tasks without --instance, as they are about the whole machine."""


class Invocation(msgspec.Struct, frozen=True):
    """How the operator reached the machine: the words before the task, and the machine's settings."""

    words: tuple[str, ...]
    host: Host


_invocation: ContextVar[Invocation | None] = ContextVar("invocation", default=None)
_typed: ContextVar[tuple[str, Sequence[str]]] = ContextVar("typed", default=("", ()))


@contextmanager
def entered(host: Host) -> Iterator[None]:
    """Make hints for `host` and fab within this context; elsewhere they are for the controller and inv."""
    token = _invocation.set(Invocation(("fab", "-H", host.name), host))
    try:
        yield
    finally:
        _invocation.reset(token)


@contextmanager
def typed(task: str, options: Sequence[str]) -> Iterator[None]:
    """Let `again` repeat `options`, which were typed after `task`, within this context."""
    token = _typed.set((task, options))
    try:
        yield
    finally:
        _typed.reset(token)


def again(task: str, daemon: Daemon | str = "", name: str = "", *options: str) -> str:
    """Return the command that was typed, with additional options; for the other arguments see `command`."""
    was, flags = _typed.get()
    flags = [*flags, *(each for each in options if each not in flags)] if was == task else list(options)
    if "--all" in flags:  # the whole machine: neither one instance nor one pool
        return shlex.join([*invocation().words, task, *flags])
    return command(task, daemon, name, *flags)


def invocation() -> Invocation:
    """Return how the operator reached the machine."""
    return _invocation.get() or Invocation(("inv",), _here())


def _here() -> Host:
    try:
        return inventory.load().defaults
    except Refused:  # the task itself reports what is wrong with the inventory
        return Host()


def command(task: str, daemon: Daemon | str = "", name: str = "", *options: str | int) -> str:
    """Return the command line of a task on a containerd and a pool.

    Args:
        task: its name, such as `pool.reset`.
        daemon: the containerd, or the name of its instance.
        name: pool name; omitted if the inventory has the same one, or the task takes none.
        options: other options, such as `--yes`.
    """
    reached = invocation()
    instance = daemon.instance if isinstance(daemon, Daemon) else daemon
    flags: list[str] = []
    if task not in WHOLE and instance != inventory.on_instance(reached.host).instance:
        flags += ["--instance", instance or DEFAULT]
    own = inventory.on_instance(reached.host, instance or DEFAULT).pool.dm_name
    if task in NAMED and name and (name != own or task in DESTROYS):
        flags += ["--name", name]
    return shlex.join([*reached.words, task, *flags, *map(str, options)])


def on_host(script: str) -> str:
    """Return shell to be typed on the host, with these words before it; without them where the host is this computer.

    A hint that also has commands of fab needs them: typed on the controller, the shell would change the controller.
    """
    return f"on the host: {script}" if _invocation.get() else script


def parts(hint: str, host: str) -> tuple[str, ...]:
    """Split a hint where it names the host; hints for several hosts that differ only in the name have equal parts."""
    return tuple(hint.split(_words(host)))


def joined(parts: Sequence[str], hosts: str) -> str:
    """Join the parts of a hint into one for several hosts.

    Args:
        parts: see the function `parts`.
        hosts: the hosts, in the notation of -H.
    """
    return _words(hosts).join(parts)


def _words(hosts: str) -> str:
    return shlex.join(["fab", "-H", hosts]) + " "
