"""Throwaway machines: up, list, shell, down, and the demonstration."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from time import monotonic
from typing import Annotated

import msgspec
from invoke import Context

from fabfile import paths
from fabfile.console import say, show
from fabfile.errors import Failed, Pending, Problem, Refused
from fabfile.option import about
from fabfile.outcome import Outcome, note, result
from fabfile.target import is_dry, quote
from fabfile.task import task

Machine = Annotated[
    str,
    about("kind of machine: kvm, uml, tcg, or debian for one with Debian's own kernel; by default the best that boots"),
]
Suite = Annotated[str, about("Debian generation: bookworm, trixie or forky")]


class LabMachine(msgspec.Struct, frozen=True):
    """A machine of the lab."""

    name: str
    running: bool = False
    port: int = 0
    """Of 127.0.0.1, on which its SSH answers."""
    kind: str = ""
    """kvm, uml or tcg."""
    broken: str = ""
    """Why it cannot be used; only `inv lab.down` can then be done with it."""


@task(answers=list[LabMachine])
def up(
    c: Context,
    count: Annotated[int, about("number of machines")] = 1,
    suite: Suite = "bookworm",
    memory: Annotated[int, about("memory of each machine, in MiB")] = 1536,
    machine: Machine = "",
) -> None:
    """Start throwaway machines and write their inventory."""
    from fabfile.lab import machines

    _only_planned(c, "lab.up", f"start {count} {suite} machines with {memory} MiB each, in {paths.lab()}")
    new = machines.up(count, suite, memory, kind=machine)
    _changed("lab.up", f"started {', '.join(each.name for each in new)}")
    result([LabMachine(each.name, True, each.port, each.kind) for each in new])
    say(f"inventory: HOSTS_FILE={quote(str(paths.lab() / 'hosts.toml'))} fab -H hosts deploy")


def _only_planned(c: Context, task: str, what: str) -> None:
    """With --dry, say what would be done.

    Raises:
        Pending: with --dry.
    """
    if is_dry(c):
        say(f"pending  {task}\n    * {what}")
        note(Outcome(task, "pending", what, 0))
        raise Pending


def _changed(task: str, what: str) -> None:
    note(Outcome(task, "changed", what, 0))


@task(name="list", answers=list[LabMachine])
def list_(c: Context) -> None:
    """Show the lab's machines."""
    from fabfile.lab import machines

    found, broken = machines.look()
    lost = [LabMachine(name, broken=why) for name, why in broken.items()]
    result([*(LabMachine(each.name, bool(each.pid), each.port, each.kind) for each in found), *lost])
    for machine in found:
        state = "running" if machine.pid else "stopped"
        where = f"127.0.0.1:{machine.port:<5}  {machine.memory} MiB"
        show(f"{machine.name:8} {state:8} {where}  {machine.suite}, {machine.kind}, Linux {machine.kernel}")
    for name, why in broken.items():
        show(f"{name:8} broken   {why}; remove it: inv lab.down {name}")


@task(positional=["name"], json=False)
def shell(c: Context, name: Annotated[str, about("machine of the lab, such as lab-1")]) -> None:
    """Open a shell on a machine of the lab."""
    from fabfile.lab import machines

    _only_planned(c, "lab.shell", f"open a shell on {name}")
    command = machines.get(name).ssh()
    os.execvp(command[0], command)


def names_a_machine(words: Sequence[str]) -> bool:
    """Whether a command line has a machine's name after lab.down: Invoke's positional arguments cannot be left out."""
    return any(task == "lab.down" and re.fullmatch(r"lab-\d+", name) for task, name in pairwise(words))


@task(positional=["name"] if names_a_machine(sys.argv) else [])
def down(
    c: Context, name: Annotated[str, about("one machine, as in inv lab.down lab-1; without it the whole lab")] = ""
) -> None:
    """End one machine, or the whole lab with all its files."""
    from fabfile.lab import directory, machines

    there = [name] if name else directory.names(paths.lab())
    if there:
        _only_planned(c, "lab.down", f"end {', '.join(there)} and remove {'it' if name else paths.lab()}")
    machines.down(name)
    if there:
        _changed("lab.down", f"ended {', '.join(there)}")


@task(json=False)
def demo(
    c: Context,
    keep: Annotated[bool, about("a machine that is left running")] = False,
    suite: Suite = "bookworm",
    machine: Machine = "",
) -> None:
    """The main job, end to end: a throwaway machine, a deploy over SSH, containers on devmapper and on overlayfs."""
    import subprocess
    import threading

    from fabfile.lab import directory, machines

    if there := directory.names(paths.lab()):
        what = f"{paths.lab()} has {', '.join(there)}"
        raise Refused("there is a lab already", what, hint="inv lab.down, or let LAB_DIR name another directory")
    _only_planned(c, "lab.demo", "start a throwaway machine, deploy on it, run containers, remove it")
    start = monotonic()
    building = threading.Thread(target=_build, daemon=True)
    building.start()
    name = machines.up(1, suite, kind=machine)[0].name
    building.join()
    fab = [sys.executable, "-m", "fabric", "-H", name]
    environment = {**os.environ, "HOSTS_FILE": str(paths.lab() / "hosts.toml")}
    try:
        for args in (["deploy"], ["smoke"], ["pool.status"]):
            say(f"\n$ fab -H {name} {' '.join(args)}")
            done = subprocess.run([*fab, *args], cwd=paths.REPOSITORY, env=environment, check=False)
            if done.returncode:
                raise Failed(
                    f"fab {args[0]} failed on {name}",
                    f"exit code {done.returncode}",
                    hint=f"its console: {paths.lab() / name / 'console.log'}",
                )
    finally:
        if not keep:
            machines.down()
    say(f"\nall of it: {monotonic() - start:.0f} s" + (f"; the machine is kept: inv lab.shell {name}" if keep else ""))


def _build() -> None:
    """Build the demo's containerd while its machine is made. Should that fail, the deploy tries again and says why."""
    import subprocess

    from fabfile.lab import mirror

    try:
        holds = mirror.build()
    except Problem:
        return  # machines.up meets the same, and reports it
    build = ["containerd.build", "--release", "lab", "--mirror", str(holds)]
    subprocess.run([sys.executable, "-m", "invoke", *build], cwd=paths.REPOSITORY, check=False)
