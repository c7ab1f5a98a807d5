"""Changes as data: what --dry shows, what --json contains, and what apply.py applies.

A step is a name and a pure function from facts to changes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from fabfile import sizes
from fabfile.facts import Facts
from fabfile.facts.query import Query


class UploadSource(Protocol):
    """A file on the controller that may have to be downloaded or built first."""

    @property
    def label(self) -> str:
        """Name, version and key, unique to its content: `go-1.26.5-5c2c3b16caef`."""

    def path(self) -> Path:
        """Download or build it, verify it, and return its path."""


class Command(msgspec.Struct, frozen=True, tag="command"):
    """Run `script`, POSIX sh as root. It must be repeatable."""

    why: str
    script: str
    functions: str = ""
    """Shell functions that the script calls; not shown with the plan."""


class File(msgspec.Struct, frozen=True, tag="file"):
    """Write `content` to the file `path`, atomically.

    `validate` is a command that gets the path of the new file as $1 and rejects it by its exit code. `backup` is the
    path for a copy of the old file. A file that is replaced keeps its owner.
    """

    why: str
    path: str
    content: str
    before: str | None = None
    mode: int = 0o644
    validate: str = ""
    backup: str = ""


class Upload(msgspec.Struct, frozen=True, tag="upload"):
    """Upload `source`, verify its digest there, and run `script` with its path as $1."""

    why: str
    source: Any  # an UploadSource; msgspec needs a concrete type here
    script: str


Change = Command | File | Upload


class Step(msgspec.Struct, frozen=True):
    """Something to converge: its plan is a pure function of the facts."""

    name: str
    plan: Callable[[Facts], list[Change]]
    query: Query = Query()
    """The facts that the plan needs."""


def file(have: Facts, why: str, path: str, content: str, **options: Any) -> list[Change]:
    """Return the change, if any, after which `path` contains `content`, with `mode`, by default 0644."""
    now, mode = have.files.get(path), options.pop("mode", 0o644)
    if now and now.content == content and now.mode == mode:
        return []
    return [File(why=why, path=path, content=content, before=now.content if now else None, mode=mode, **options)]


def describe(change: Change, *, diff: bool = False) -> list[str]:
    """Return the lines that show a change to an operator.

    Args:
        change: the change.
        diff: include the commands, and the differences of an existing file; otherwise it is a single line.
    """
    what = f"* {change.why}"
    match change:
        case File(before=None):
            what += f": {change.path}, new, {sizes.human(len(change.content.encode()))}"
        case File():
            what += f": {change.path}"
    if not diff:
        return [what]
    return [what, *(f"  {line}" for line in _behind(change))]


def _behind(change: Change) -> list[str]:
    match change:
        case Command():
            return [f"$ {line}" for line in change.script.strip().splitlines()]
        case Upload():
            return [f"< {change.source.label}", *(f"$ {line}" for line in change.script.strip().splitlines())]
        case File(before=None):
            return [f"mode {change.mode:o}"]
        case File():
            before, after = (change.before or "").splitlines(), change.content.splitlines()
            lines = difflib.unified_diff(before, after, change.path, change.path, lineterm="")
            return list(lines) or [f"mode {change.mode:o}"]
