"""Tasks about a machine as a whole."""

from __future__ import annotations

from typing import Annotated, Any

from invoke import Context

from fabfile.facts import Facts
from fabfile.host import Host, Pool
from fabfile.option import about
from fabfile.steps import findings, overview
from fabfile.steps.deploy import POOL_OPTIONS, deploy_host
from fabfile.steps.packages import install_packages
from fabfile.steps.run import Ran, run_command
from fabfile.steps.smoke import Proof, prove_containers
from fabfile.steps.status import Check, diagnose, show_machine
from fabfile.task import Instance, task


@task(settings=[(Host, ("release", "mirror", "registry", "image")), (Pool, POOL_OPTIONS)], diff=True)
def deploy(
    c: Context,
    instance: Instance = "",
    until: Annotated[str, about("name of the last step to run, such as runc.install; by default all are run")] = "",
    **given: Any,
) -> None:
    """Install and configure everything; on a converged host, change nothing."""
    deploy_host(c, instance, until, **given)


@task(diff=True)
def packages(
    c: Context, build: Annotated[bool, about("also install the packages for building containerd")] = False
) -> None:
    """Install missing distribution packages."""
    install_packages(c, build=build)


@task(positional=["command"], answers=Ran)
def run(c: Context, command: Annotated[str, about("POSIX sh command; it gets no standard input")]) -> None:
    """Run a command as root and print its output."""
    run_command(c, command)


@task(settings=[(Host, ("image", "registry"))], diff=True, answers=Proof)
def smoke(c: Context, instance: Instance = "", **given: Any) -> None:
    """Pull hello-world, run it on devmapper and then on overlayfs, and print its output."""
    prove_containers(c, instance, **given)


@task(answers=Facts, looks=True, together=overview.table)
def status(c: Context, instance: Instance = "") -> None:
    """Show installed versions, whether containerd runs, and the pool."""
    show_machine(c, instance)


@task(answers=list[Check], looks=True, together=findings.table)
def doctor(c: Context, instance: Instance = "") -> None:
    """Find what would make a deploy or a container fail, or keep a pool from starting at boot, and suggest fixes."""
    diagnose(c, instance)
