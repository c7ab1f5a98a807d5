"""A machine made of recorded answers. It implements what target.py asks of `c`, and remembers what it was asked."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from invoke import Result

from fabfile import facts
from fabfile.apply import LOCK
from fabfile.facts import Facts

RECORDED = Path(__file__).parent / "facts"


def recorded(fact: str, name: str) -> str:
    """A fact's recorded output."""
    return (RECORDED / fact / f"{name}.txt").read_text()


def looks_like(**sections: str) -> str:
    """What the facts script prints: a fresh Debian 12, except for the sections given."""
    return "".join(f"@@ {name}\n{sections.get(name, recorded(name, 'fresh'))}" for name in facts.MODULES)


def have(**changes: Any) -> Facts:
    """The facts of a fresh Debian 12, except for those given."""
    return msgspec.structs.replace(facts.parse(looks_like()), **changes)


def script_of(command: str) -> str:
    """The script that a command line of `target.run` carries."""
    words = shlex.split(command)
    assert words[:3] == ["exec", "sh", "-c"], words[:3]
    assert len(words) == 5, "one script, one level of quoting"
    return words[4]


class Machine:
    """Answers looks and applications in turn; the last look is repeated.

    Args:
        looks: what the facts script prints, one after the other.
        applied: exit code and output of the apply script, one after the other; then success.
        dry: whether the user said --dry.
    """

    def __init__(
        self, looks: Sequence[str] = (), applied: Sequence[tuple[int, str]] = (), *, dry: bool = False
    ) -> None:
        self.config = SimpleNamespace(run=SimpleNamespace(dry=dry))
        self.looks, self.applied = list(looks), list(applied)
        self.scripts: list[str] = []
        self.options: list[dict[str, Any]] = []

    def run(self, command: str, **options: Any) -> Result:
        """Answer as a machine would."""
        self.options.append(options)
        self.scripts.append(script_of(command))
        if LOCK not in command:
            return Result(stdout=self._look() if "@@ system" in command else "")
        code, output = self.applied.pop(0) if self.applied else (0, "")
        return Result(stdout=output if code or "@@ system" not in command else f"{output}\n{self._look()}", exited=code)

    def _look(self) -> str:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    @property
    def log(self) -> list[str]:
        """What was asked, in one word each."""
        return ["apply" if LOCK in s else "look" if "@@ system" in s else "run" for s in self.scripts]


class Remote(Machine):
    """One behind SSH, which has a `put`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.files: dict[str, str] = {}

    def put(self, local: str, remote: str) -> None:
        """Take a file."""
        self.files[remote] = Path(local).read_text()
