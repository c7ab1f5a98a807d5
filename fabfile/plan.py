"""A step's changes as data: what --dry shows, what --json has, and what apply.py makes true.

A step is a name and a pure function from facts to changes.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from fabfile import sizes
from fabfile.facts import Facts, Query


class Source(Protocol):
    """A file of the controller that may have to be fetched or built first."""

    @property
    def label(self) -> str:
        """Name, version and key, unique to the content: `go-1.26.5-5c2c3b16caef`."""

    def path(self) -> Path:
        """Fetch or build it, verified, and return where it is."""


class Command(msgspec.Struct, frozen=True, tag="command"):
    """Run `script` (POSIX sh, as root). It may be run twice: it is repeatable."""

    why: str
    script: str
    functions: str = ""
    """Shell functions that the script calls; left out where a plan is shown to a person."""


class File(msgspec.Struct, frozen=True, tag="file"):
    """Make `path` hold `content`, atomically, with a backup beside it if `backup` names one.

    `validate` is a command that gets the new file's temporary path as $1 and refuses it by its exit code. A file that
    is replaced keeps its owner.
    """

    why: str
    path: str
    content: str
    before: str | None = None
    mode: int = 0o644
    validate: str = ""
    backup: str = ""


class Upload(msgspec.Struct, frozen=True, tag="upload"):
    """Bring `source` to the machine, verify its digest there, and run `script` with its path as $1."""

    why: str
    source: Any  # a Source; msgspec needs a concrete type here
    script: str


Change = Command | File | Upload


class Step(msgspec.Struct, frozen=True):
    """A noun to converge: its plan is a pure function of the facts."""

    name: str
    plan: Callable[[Facts], list[Change]]
    query: Query = Query()
    """What the plan wants to know."""


def file(have: Facts, why: str, path: str, content: str, **options: Any) -> list[Change]:
    """The change, if any, that makes `path` hold `content`; its mode is 0644 unless `mode` says otherwise."""
    now, mode = have.files.get(path), options.pop("mode", 0o644)
    if now and now.content == content and now.mode == mode:
        return []
    return [File(why=why, path=path, content=content, before=now.content if now else None, mode=mode, **options)]


def describe(change: Change, *, diff: bool = False) -> list[str]:
    """The lines that show a change to a person.

    Args:
        change: it.
        diff: also the commands, and how a file that is there differs; else a single line.
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


def words(*parts: str | int | Path) -> str:
    """Quote `parts` as the words of a shell command."""
    return shlex.join(map(str, parts))
