"""Build, install and configure containerd."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from invoke import Context

from fabfile.cli.task import SOURCES, Instance, task
from fabfile.option import about

Where = Annotated[
    Literal["controller", "host"], about("computer that builds containerd: this controller, or the host itself")
]


@task(settings=SOURCES, diff=True)
def build(c: Context, on: Where | None = None, **given: Any) -> None:
    """Build containerd, on this controller or on the host itself, and check the result; nothing is installed."""
    from fabfile.steps.containerd import build_containerd

    build_containerd(c, on or "", **given)


@task(settings=SOURCES, diff=True)
def install(c: Context, on: Where | None = None, **given: Any) -> None:
    """Install containerd in /opt/containerd, with links to its programs in bin_dir."""
    from fabfile.steps.containerd import install_containerd

    install_containerd(c, on or "", **given)


@task(settings=SOURCES, diff=True)
def configure(c: Context, instance: Instance = "", **given: Any) -> None:
    """Configure containerd for the pool, start it, and check that its devmapper plugin is ok."""
    from fabfile.steps.config import configure_containerd

    configure_containerd(c, instance, **given)
