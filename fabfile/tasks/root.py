"""Tasks about a machine as a whole."""

from __future__ import annotations

from typing import Annotated, Any

from invoke import Context

from fabfile.cli.task import Instance, task
from fabfile.host import DEPLOY_OPTIONS, Host, Pool
from fabfile.option import about


@task(settings=[(Host, ("release", "mirror", "registry", "image")), (Pool, DEPLOY_OPTIONS)], diff=True)
def deploy(
    c: Context,
    instance: Instance = "",
    until: Annotated[str, about("name of the last step to run, such as runc.install; by default all are run")] = "",
    **given: Any,
) -> None:
    """Install and configure everything; on a converged host, change nothing."""
    from fabfile.steps.deploy import deploy_host

    deploy_host(c, instance, until, **given)


@task(diff=True)
def packages(c: Context, build: Annotated[bool, about("packages for building containerd as well")] = False) -> None:
    """Install missing distribution packages."""
    from fabfile.steps.packages import install_packages

    install_packages(c, build=build)


@task(positional=["command"], answers="fabfile.steps.run:Ran")
def run(c: Context, command: Annotated[str, about("POSIX sh command; it gets no standard input")]) -> None:
    """Run a command as root and print its output."""
    from fabfile.steps.run import run_command

    run_command(c, command)


@task(settings=[(Host, ("image", "registry"))], diff=True, answers="fabfile.steps.smoke:Proof")
def smoke(c: Context, instance: Instance = "", **given: Any) -> None:
    """Pull hello-world, run it on devmapper and then on overlayfs, and print its output."""
    from fabfile.steps.smoke import prove_containers

    prove_containers(c, instance, **given)


@task(answers="fabfile.facts:Facts", read_only=True, together="fabfile.steps.overview:table")
def status(c: Context, instance: Instance = "") -> None:
    """Show installed versions, whether containerd runs, and the pool."""
    from fabfile.steps.status import show_machine

    show_machine(c, instance)


@task(answers="fabfile.pool.health.finding:Finding[]", read_only=True, together="fabfile.steps.findings_table:table")
def doctor(c: Context, instance: Instance = "") -> None:
    """Find what would make a deploy or a container fail, or keep a pool from starting at boot, and suggest fixes."""
    from fabfile.steps.status import diagnose

    diagnose(c, instance)
