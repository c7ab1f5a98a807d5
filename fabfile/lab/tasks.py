"""Throwaway machines: up, list, shell, down, and the demonstration."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from time import monotonic

from invoke import Context, task

from fabfile import paths
from fabfile.console import say
from fabfile.errors import Failed, Problem, Refused
from fabfile.target import quote

MACHINE = "kind of machine: kvm, uml, tcg, or debian for one with Debian's own kernel (default: the best that boots)"


@task(
    help={
        "count": "number of machines",
        "suite": "Debian generation: bookworm, trixie or forky",
        "memory": "memory of each, in MiB",
        "machine": MACHINE,
    }
)
def up(c: Context, count: int = 1, suite: str = "bookworm", memory: int = 1536, machine: str = "") -> None:
    """Start throwaway machines and write their inventory."""
    from fabfile.lab import machines

    machines.up(count, suite, memory, kind=machine)
    say(f"inventory: HOSTS_FILE={quote(str(paths.lab() / 'hosts.toml'))} fab -H hosts deploy")


@task(name="list")
def list_(c: Context) -> None:
    """Show the lab's machines."""
    from fabfile.lab import machines

    found, broken = machines.look()
    for machine in found:
        state = "running" if machine.pid else "stopped"
        where = f"127.0.0.1:{machine.port:<5}  {machine.memory} MiB"
        say(f"{machine.name:8} {state:8} {where}  {machine.suite}, {machine.kind}, Linux {machine.kernel}")
    for name, why in broken.items():
        say(f"{name:8} broken   {why}; remove it: inv lab.down {name}")


@task(positional=["name"], help={"name": "such as lab-1"})
def shell(c: Context, name: str) -> None:
    """Open a shell on a machine of the lab."""
    from fabfile.lab import machines

    command = machines.get(name).ssh()
    os.execvp(command[0], command)


def names_a_machine(words: Sequence[str]) -> bool:
    """Whether a command line has a machine's name after lab.down: Invoke's positional arguments cannot be left out."""
    return any(task == "lab.down" and re.fullmatch(r"lab-\d+", name) for task, name in pairwise(words))


@task(
    positional=["name"] if names_a_machine(sys.argv) else [],
    help={"name": "one machine, as in inv lab.down lab-1; without it the whole lab"},
)
def down(c: Context, name: str | None = None) -> None:
    """End one machine, or the whole lab with all its files."""
    from fabfile.lab import machines

    machines.down(name or "")


@task(
    help={
        "keep": "leave the machine running",
        "suite": "Debian generation: bookworm, trixie or forky",
        "machine": MACHINE,
    }
)
def demo(c: Context, keep: bool = False, suite: str = "bookworm", machine: str = "") -> None:
    """The main job, end to end: a throwaway machine, a deploy over SSH, containers on devmapper and on overlayfs."""
    import subprocess
    import threading

    from fabfile.lab import directory, machines

    if there := directory.names(paths.lab()):
        what = f"{paths.lab()} has {', '.join(there)}"
        raise Refused("there is a lab already", what, hint="inv lab.down, or let LAB_DIR name another directory")
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
