"""A machine made of recorded answers. It implements what target.py asks of `c`, and remembers what it was asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from fabfile import facts
from fabfile.apply import LOCK
from fabfile.facts import Facts
from fabfile.host import Host

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


class Reply:
    """A command that was begun on a machine: it answers once it has the whole script, as `carry` sends it."""

    def __init__(self, machine: Machine, command: str) -> None:
        self.machine, self.command = machine, command
        self.sent = bytearray()
        self.output: bytes | None = None
        self.code = 0

    def write(self, data: bytes) -> None:
        """Take some of the script, or of the data behind it."""
        self.sent += data

    def read(self, size: int) -> bytes:
        """The answer, at once."""
        if self.output is None:
            length = int(re.search(r"(?:head -c |count=)(\d+)", self.command)[1])  # type: ignore[index]
            body, data = self.sent[:length].decode(), bytes(self.sent[length:])
            mark = re.search(r"^echo (\S+) begin$", body, re.MULTILINE)[1]  # type: ignore[index]
            script = body.partition("\n(\n")[2].rpartition("\n) ")[0]
            self.code, said = self.machine.answer(script, data)
            self.output = f"{mark} begin\n{said}\n{mark} end {self.code}\n".encode()
            return self.output
        return b""

    def read_error(self, size: int) -> bytes:
        """Nothing."""
        return b""

    def end_input(self) -> None:
        """It has the script already."""

    def cancel(self) -> None:
        """Nothing goes on."""

    def lost(self) -> str:
        """Nothing is."""
        return ""

    def exit_code(self) -> int:
        """Of the script."""
        return self.code


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
        self.host_entry: Host | None = None
        """What hosts.toml says of it, as a `Connection` has it; else it is this machine."""

    def begin(self, command: str) -> Reply:
        """Begin a command, as a `Connection` does."""
        return Reply(self, command)

    def answer(self, script: str, data: bytes) -> tuple[int, str]:
        """Exit code and output of a script, as a machine would answer."""
        self.scripts.append(script)
        if LOCK not in script:
            return 0, self._look() if "@@ system" in script else ""
        code, output = self.applied.pop(0) if self.applied else (0, "")
        return code, output if code or "@@ system" not in script else f"{output}\n{self._look()}"

    def _look(self) -> str:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    @property
    def log(self) -> list[str]:
        """What was asked, in one word each."""
        return ["apply" if LOCK in s else "look" if "@@ system" in s else "run" for s in self.scripts]


class Remote(Machine):
    """One behind SSH, to which files are brought."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.files: dict[str, str] = {}
        self.host = "192.0.2.1"

    def answer(self, script: str, data: bytes) -> tuple[int, str]:
        """Take a file, or answer as a machine would."""
        if "<&3" not in script:
            return super().answer(script, data)
        path = f"/var/tmp/containerd-devmapper.{len(self.files)}/file"
        self.files[path] = data.decode()
        return 0, f"{path}\n"
