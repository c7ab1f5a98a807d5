"""Throwaway machines: up, list, shell, down, and the demonstration."""

from __future__ import annotations

import os
from time import monotonic

from invoke import Context, task

from fabfile import paths
from fabfile.console import say
from fabfile.errors import Failed, Refused

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
    say(f"inventory: HOSTS_FILE={paths.lab() / 'hosts.toml'} fab -H hosts deploy")


@task(name="list")
def list_(c: Context) -> None:
    """Show the lab's machines."""
    from fabfile.lab import machines

    for machine in machines.machines():
        state = "running" if machine.pid else "stopped"
        where = f"127.0.0.1:{machine.port:<5}  {machine.memory} MiB"
        say(f"{machine.name:8} {state:8} {where}  {machine.suite}, {machine.kind}, Linux {machine.kernel}")


@task(positional=["name"], help={"name": "such as lab-1"})
def shell(c: Context, name: str) -> None:
    """Open a shell on a machine of the lab."""
    from fabfile.lab import machines

    command = machines.get(name).ssh()
    os.execvp(command[0], command)


@task(positional=["name"], optional=["name"], help={"name": "one machine; without it the whole lab"})
def down(c: Context, name: str = "") -> None:
    """End one machine, or the whole lab with all its files."""
    from fabfile.lab import machines

    machines.down(name)


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
    import sys

    from fabfile.lab import machines

    if machines.machines():
        raise Refused("a lab is running already", str(paths.lab()), hint="inv lab.down, or another LAB_DIR")
    start = monotonic()
    name = machines.up(1, suite, kind=machine)[0].name
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
