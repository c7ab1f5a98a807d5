"""Tasks about a machine as a whole."""

from __future__ import annotations

from typing import Annotated, Any

from invoke import Context

from fabfile.facts import Facts
from fabfile.host import Host, Pool
from fabfile.option import about
from fabfile.steps.deploy import POOL_OPTIONS, deploy_host
from fabfile.steps.packages import install_packages
from fabfile.steps.run import Ran, run_command
from fabfile.steps.smoke import Proof, prove_containers
from fabfile.steps.status import Check, diagnose, show_machine
from fabfile.task import Instance, task


@task(settings=[(Host, ("release", "mirror", "registry", "image")), (Pool, POOL_OPTIONS)], diff=True)
def deploy(c: Context, instance: Instance = "", **given: Any) -> None:
    """Everything, in order; a machine that has it all is only looked at, once."""
    deploy_host(c, instance, **given)


@task(diff=True)
def packages(
    c: Context, build: Annotated[bool, about("also the packages that a build of containerd needs")] = False
) -> None:
    """Install the distribution packages that are missing."""
    install_packages(c, build=build)


@task(positional=["command"], answers=Ran)
def run(c: Context, command: Annotated[str, about("POSIX sh command; it gets no standard input")]) -> None:
    """Run a command as root and show what it says."""
    run_command(c, command)


@task(settings=[(Host, ("image", "registry"))], diff=True, answers=Proof)
def smoke(c: Context, instance: Instance = "", **given: Any) -> None:
    """Pull hello-world and run it with devmapper, then with overlayfs, and show what it says."""
    prove_containers(c, instance, **given)


@task(answers=Facts)
def status(c: Context, instance: Instance = "") -> None:
    """Show what is installed, what runs, and the pool."""
    show_machine(c, instance)


@task(answers=list[Check])
def doctor(c: Context, instance: Instance = "") -> None:
    """Look for what would stop a deploy or a container, or any pool from coming back, and say the way out."""
    diagnose(c, instance)
