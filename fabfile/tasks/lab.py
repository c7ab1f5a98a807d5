"""Throwaway machines; for inv only."""

from __future__ import annotations

from typing import Annotated

from invoke import Context

from fabfile.cli.task import task
from fabfile.option import about

Machine = Annotated[
    str,
    about("kind of machine: kvm, uml, tcg, or debian for Debian's own kernel; by default the best that boots"),
]
Suite = Annotated[str, about("Debian generation: bookworm, trixie or forky")]


@task(answers="fabfile.lab.throwaway:LabMachine[]", record=False)
def up(
    c: Context,
    count: Annotated[int, about("number of machines")] = 1,
    suite: Suite = "bookworm",
    memory: Annotated[int, about("memory of each machine, in MiB")] = 1536,
    machine: Machine = "",
) -> None:
    """Start throwaway machines and write their inventory."""
    from fabfile.lab.throwaway import start_machines

    start_machines(c, count, suite, memory, machine)


@task(name="list", answers="fabfile.lab.throwaway:LabMachine[]", read_only=True, record=False)
def list_(c: Context) -> None:
    """List the lab's machines."""
    from fabfile.lab.throwaway import list_machines

    list_machines()


@task(positional=["name"], json=False, record=False)
def shell(c: Context, name: Annotated[str, about("machine of the lab, such as lab-1")]) -> None:
    """Open a shell on a machine of the lab."""
    from fabfile.lab.throwaway import open_shell

    open_shell(c, name)


@task(follows={"name": r"lab-\d+"}, record=False)
def down(
    c: Context,
    name: Annotated[str, about("lab machine to remove, as in inv lab.down lab-1; by default the whole lab")] = "",
) -> None:
    """Remove one machine, or the whole lab with all its files."""
    from fabfile.lab.throwaway import end_machines

    end_machines(c, name)


@task(json=False, record=False)
def demo(
    c: Context,
    keep: Annotated[bool, about("no removal of the machine at the end")] = False,
    suite: Suite = "bookworm",
    machine: Machine = "",
) -> None:
    """Start a throwaway machine, deploy to it over SSH, and run containers on devmapper and on overlayfs."""
    from fabfile.lab.demo import run_demo

    run_demo(c, suite, machine, keep=keep)
