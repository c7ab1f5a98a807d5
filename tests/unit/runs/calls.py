"""Calls of tasks, as Invoke makes them: what decides whether a run leaves a record."""

from __future__ import annotations

from invoke import Call, Context

from fabfile.cli.task import Task


def _nothing(c: Context) -> None:
    """Do nothing."""


DEPLOY: list[Call] = [Call(Task(_nothing))]
"""It may change the machine."""

READ_ONLY: list[Call] = [Call(Task(_nothing, read_only=True))]
"""It changes nothing."""

SHOW: list[Call] = [Call(Task(_nothing, read_only=True, record=False))]
"""It looks at no machine."""
