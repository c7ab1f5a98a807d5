"""Throwaway machines for an operator: start, list, open a shell, remove."""

from __future__ import annotations

import os

import msgspec
from invoke import Context

from fabfile import paths
from fabfile.console import say
from fabfile.errors import Pending
from fabfile.output.answer import show
from fabfile.output.outcome import Outcome, note, result
from fabfile.remote.target import is_dry
from fabfile.shell import quote


class LabMachine(msgspec.Struct, frozen=True):
    """A machine of the lab."""

    name: str
    running: bool = False
    port: int = 0
    """Port of 127.0.0.1 that leads to its SSH."""
    kind: str = ""
    """kvm, uml or tcg."""
    broken: str = ""
    """Why it cannot be used; only `inv lab.down` accepts it."""


def start_machines(c: Context, count: int, suite: str, memory: int, kind: str) -> None:
    """Start machines, and write their inventory.

    Args:
        c: the controller.
        count: number of machines.
        suite: name of the Debian generation.
        memory: MiB for each.
        kind: kind of machine; empty: the best one that boots on the controller.

    Raises:
        Pending: with --dry.
    """
    from fabfile.lab import machines

    only_planned(c, "lab.up", f"start {count} {suite} machines with {memory} MiB each, in {paths.lab()}")
    new = machines.up(count, suite, memory, kind=kind)
    _changed("lab.up", f"started {', '.join(each.name for each in new)}")
    result([LabMachine(each.name, True, each.port, each.kind) for each in new])
    say(f"inventory: HOSTS_FILE={quote(str(paths.lab() / 'hosts.toml'))} fab -H hosts deploy")


def only_planned(c: Context, task: str, what: str) -> None:
    """With --dry, print what would be done and end the task.

    Raises:
        Pending: with --dry.
    """
    if is_dry(c):
        say(f"pending  {task}\n    * {what}")
        note(Outcome(task, "pending", what, 0))
        raise Pending


def _changed(task: str, what: str) -> None:
    note(Outcome(task, "changed", what, 0))


def list_machines() -> None:
    """Print the lab's machines."""
    from fabfile.lab import machines

    found, broken = machines.scan()
    lost = [LabMachine(name, broken=why) for name, why in broken.items()]
    result([*(LabMachine(each.name, bool(each.pid), each.port, each.kind) for each in found), *lost])
    for machine in found:
        state = "running" if machine.pid else "stopped"
        where = f"127.0.0.1:{machine.port:<5}  {machine.memory} MiB"
        show(f"{machine.name:8} {state:8} {where}  {machine.suite}, {machine.kind}, Linux {machine.kernel}")
    for name, why in broken.items():
        show(f"{name:8} broken   {why}; remove it: inv lab.down {name}")


def open_shell(c: Context, name: str) -> None:
    """Replace this process by a shell on a machine of the lab.

    Raises:
        Pending: with --dry.
        Refused: there is no such machine.
    """
    from fabfile.lab import machines

    only_planned(c, "lab.shell", f"open a shell on {name}")
    command = machines.get(name).ssh()
    os.execvp(command[0], command)


def end_machines(c: Context, name: str) -> None:
    """Stop and remove one machine or, if `name` is empty, the whole lab with all its files.

    Raises:
        Pending: with --dry, if there is anything to remove.
    """
    from fabfile.lab import directory, machines

    there = [name] if name else directory.names(paths.lab())
    if there:
        only_planned(c, "lab.down", f"end {', '.join(there)} and remove {'it' if name else paths.lab()}")
    machines.down(name)
    if there:
        _changed("lab.down", f"ended {', '.join(there)}")
