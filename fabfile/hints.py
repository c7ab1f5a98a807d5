"""Hints that work as they stand: the command with everything that names the same machine, containerd and pool.

A hint that leaves out `--instance` or `--name` is about another pool, and whoever types it loses that one.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

from fabfile import inventory
from fabfile.errors import Refused
from fabfile.instance import DEFAULT, Daemon
from fabfile.inventory import Host

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
"""Tasks that take --name, the pool; a unit test compares it with the tasks."""

DESTROYS = frozenset({"pool.reset"})
"""Tasks whose hint names the pool whatever the inventory says: it may be another inventory by then."""

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
"""Tasks that take no --instance: they are about the machine."""


class Door(msgspec.Struct, frozen=True):
    """How a person came in: the words before the task, and what the inventory says of the machine."""

    words: tuple[str, ...]
    host: Host


_door: ContextVar[Door | None] = ContextVar("door", default=None)
_typed: ContextVar[tuple[str, Sequence[str]]] = ContextVar("typed", default=("", ()))


@contextmanager
def entered(host: Host) -> Iterator[None]:
    """Within it, hints are commands for `host` by fab; elsewhere they are for this machine by inv."""
    token = _door.set(Door(("fab", "-H", host.name), host))
    try:
        yield
    finally:
        _door.reset(token)


@contextmanager
def typed(task: str, options: Sequence[str]) -> Iterator[None]:
    """Within it, `again` repeats `options`, which were typed behind `task`."""
    token = _typed.set((task, options))
    try:
        yield
    finally:
        _typed.reset(token)


def again(task: str, daemon: Daemon | str = "", name: str = "", *options: str) -> str:
    """The command that was typed, completed by `options`; for the rest see `command`."""
    was, said = _typed.get()
    said = [*said, *(each for each in options if each not in said)] if was == task else list(options)
    if "--all" in said:  # the whole machine: there is no one instance and no one pool
        return shlex.join([*door().words, task, *said])
    return command(task, daemon, name, *said)


def door() -> Door:
    """How the person who reads the hint came in."""
    return _door.get() or Door(("inv",), _here())


def _here() -> Host:
    try:
        return inventory.load().defaults
    except Refused:  # the task itself says what is wrong with the inventory
        return Host()


def command(task: str, daemon: Daemon | str = "", name: str = "", *options: str | int) -> str:
    """The command that does `task` to that containerd and that pool, as it is to be typed.

    Args:
        task: its name, `pool.reset`.
        daemon: the containerd, or the name of its instance.
        name: of the pool; left out where the inventory names that pool itself, or the task asks for none.
        options: what else belongs to it, `--yes`.
    """
    at = door()
    instance = daemon.instance if isinstance(daemon, Daemon) else daemon
    said: list[str] = []
    if task not in WHOLE and instance != inventory.on_instance(at.host).instance:
        said += ["--instance", instance or DEFAULT]
    own = inventory.on_instance(at.host, instance or DEFAULT).pool.dm_name
    if task in NAMED and name and (name != own or task in DESTROYS):
        said += ["--name", name]
    return shlex.join([*at.words, task, *said, *map(str, options)])


def parts(hint: str, host: str) -> tuple[str, ...]:
    """A hint, cut where it names the host: hints for several hosts that are the same but for that are equal."""
    return tuple(hint.split(_words(host)))


def joined(parts: Sequence[str], hosts: str) -> str:
    """The hint for all of `hosts`, as -H takes them."""
    return _words(hosts).join(parts)


def _words(hosts: str) -> str:
    return shlex.join(["fab", "-H", hosts]) + " "
