"""The programs that build containerd."""

from __future__ import annotations

from typing import Any

from invoke import Context

from fabfile.cli.task import SOURCES, task


@task(settings=SOURCES, diff=True)
def go(c: Context, **given: Any) -> None:
    """Install Go in /usr/local/go and add it to the PATH of logins."""
    from fabfile.steps.toolchain import install_go

    install_go(c, **given)


@task(settings=SOURCES, diff=True)
def protoc(c: Context, **given: Any) -> None:
    """Install protoc and its include files, and check that it compiles a .proto."""
    from fabfile.steps.toolchain import install_protoc

    install_protoc(c, **given)
