"""The settings of hosts."""

from __future__ import annotations

from invoke import Context

from fabfile.steps.origin import Setting, show_settings
from fabfile.task import task


@task(answers=list[Setting], looks=True)
def show(c: Context) -> None:
    """Show what a host gets, and where each value comes from; nothing is connected to."""
    show_settings(c)
