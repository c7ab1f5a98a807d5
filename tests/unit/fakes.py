"""A machine made of recorded answers. It has the interface that target.py uses, and records what it is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from fabfile import facts
from fabfile.facts import Facts
from fabfile.host import Host
from fabfile.remote.lock import LOCK

RECORDED = Path(__file__).parent / "facts"


def recorded(fact: str, name: str) -> str:
    """Return the recorded output of a fact."""
    return (RECORDED / fact / f"{name}.txt").read_text()


def looks_like(**sections: str) -> str:
    """Return the output of the facts script on a fresh Debian 12, except for the given sections."""
    return "".join(f"@@ {name}\n{sections.get(name, recorded(name, 'fresh'))}" for name in facts.MODULES)


def have(**changes: Any) -> Facts:
    """Return the facts of a fresh Debian 12, except for the given ones."""
    return msgspec.structs.replace(facts.parse(looks_like()), **changes)


class Reply:
    """A running command, which answers once it has received the complete script from `execution`."""

    def __init__(self, machine: Machine, command: str) -> None:
        self.machine, self.command = machine, command
        self.sent = bytearray()
        self.output: bytes | None = None
        self.code = 0

    def write(self, data: bytes, seconds: float) -> None:
        """Receive a part of the script, or of the data after it."""
        self.sent += data

    def read(self, size: int, seconds: float) -> tuple[bytes, bytes]:
        """Return the answer, at once."""
        if self.output is None:
            length = int(re.search(r"(?:head -c |count=)(\d+)", self.command)[1])  # type: ignore[index]
            body, data = self.sent[:length].decode(), bytes(self.sent[length:])
            mark = re.search(r"^echo (\S+) begin$", body, re.MULTILINE)[1]  # type: ignore[index]
            script = body.partition("\n(\n")[2].rpartition("\n) ")[0]
            self.code, said = self.machine.answer(script, data)
            self.output = f"{mark} begin\n{said}\n{mark} end {self.code}\n".encode()
            return self.output, b""
        return b"", b""

    def end_input(self) -> None:
        """The script is complete already."""

    def cancel(self) -> None:
        """Nothing runs."""

    def lost(self) -> str:
        """The connection is never lost."""
        return ""

    def exit_code(self) -> int:
        """Exit code of the script."""
        return self.code


class Machine:
    """Answers requests for facts, and applications, in turn; the last facts are repeated.

    Args:
        outputs: outputs of the facts script, one after the other.
        applied: exit codes and outputs of the apply script, one after the other; then success.
        dry: whether --dry was given.
    """

    def __init__(
        self, outputs: Sequence[str] = (), applied: Sequence[tuple[int, str]] = (), *, dry: bool = False
    ) -> None:
        self.config = SimpleNamespace(run=SimpleNamespace(dry=dry))
        self.outputs, self.applied = list(outputs), list(applied)
        self.scripts: list[str] = []
        self.host_entry: Host | None = None
        """Its entry in hosts.toml, as a `Connection` has it; None: it is this machine."""

    def begin(self, command: str) -> Reply:
        """Start a command, as a `Connection` does."""
        return Reply(self, command)

    def answer(self, script: str, data: bytes) -> tuple[int, str]:
        """Return exit code and output of a script, as a machine would."""
        self.scripts.append(script)
        if LOCK not in script:
            return 0, self._next_output() if "@@ system" in script else ""
        code, output = self.applied.pop(0) if self.applied else (0, "")
        return code, output if code or "@@ system" not in script else f"{output}\n{self._next_output()}"

    def _next_output(self) -> str:
        return self.outputs.pop(0) if len(self.outputs) > 1 else self.outputs[0]

    @property
    def log(self) -> list[str]:
        """What was asked, one word each."""
        return ["apply" if LOCK in s else "gather" if "@@ system" in s else "run" for s in self.scripts]


class Remote(Machine):
    """A machine behind SSH, to which files are uploaded."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.files: dict[str, str] = {}
        self.host = "192.0.2.1"

    def answer(self, script: str, data: bytes) -> tuple[int, str]:
        """Receive a file, or answer as a machine would."""
        if "<&3" not in script:
            return super().answer(script, data)
        path = f"/var/tmp/containerd-devmapper.{len(self.files):010}/file"
        self.files[path] = data.decode()
        return 0, f"{path}\n"
