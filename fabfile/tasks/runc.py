"""The program that starts containers for containerd."""

from __future__ import annotations

from typing import Any

from invoke import Context

from fabfile.cli.task import SOURCES, task


@task(settings=SOURCES, diff=True)
def install(c: Context, **given: Any) -> None:
    """Install runc."""
    from fabfile.steps.runc import install_runc

    install_runc(c, **given)
