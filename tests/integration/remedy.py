"""A pool is brought into a state, every command names it, and the fix that they print is typed as printed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fabfile.instance import Daemon
from tests.integration.machine import Machine
from tests.integration.states import State
from tests.integration.test_instance import registry
from tests.unit import typed

Fab = Callable[..., str]

SHELL = re.compile(r"(?<![\w/-])(?:systemctl|dmsetup|lvchange|mount|mv|truncate|/\S+/ctr) .*?(?=; (?:or|where) |$)")
"""A command of the machine's own in a hint, up to its end or the next alternative."""

END = "{ $ctr tasks kill -s KILL runs; sleep 1; $ctr tasks rm runs; $ctr containers rm runs; } >/dev/null 2>&1"
"""Shell that ends the container which a state may need."""


@dataclass(frozen=True)
class Place:
    """A pool on a machine, with the containerd that it is for and a container with a file."""

    machine: Machine
    pool: str
    instance: str = ""
    """Empty: the main one."""
    inventory: Path | None = None
    """The hosts.toml that describes it; None: that of the lab."""

    @property
    def fab(self) -> Fab:
        """A function that runs fab with its inventory."""
        return partial(self.machine.fab, inventory=self.inventory)

    @property
    def options(self) -> list[str]:
        """Options that select its containerd."""
        return ["--instance", self.instance] if self.instance else []

    @property
    def ctr(self) -> str:
        """Its ctr command."""
        return Daemon(self.instance).ctr

    @property
    def image(self) -> str:
        """Reference of an image with a shell."""
        return f"{registry(self.machine)}/library/busybox:latest"

    def fill(self) -> None:
        """Create the container `kept` with a file, and then a backup."""
        self.machine.ssh(f"{self.ctr} images pull --plain-http --snapshotter devmapper {self.image}")
        self.machine.ssh(f"{self.ctr} containers create --snapshotter devmapper {self.image} kept")
        self.machine.in_snapshot("kept", "echo still here >file", self.ctr)
        self.fab("pool.backup", *self.options)

    def shell(self, script: str, code: int | None = 0) -> str:
        """Run a row's shell."""
        values = {
            "image": self.image,
            "ctr": self.ctr,
            "pool": self.pool,
            "unit": f"devmapper-pool@{self.pool}.service",
            "daemon": Daemon(self.instance).unit.removesuffix(".service"),
        }
        lines = [f"{key}={shlex.quote(value)}\n" for key, value in values.items()]
        return self.machine.ssh("".join(lines) + script, code)

    def well(self, *, kept: bool = True) -> None:
        """Assert that doctor and deploy are content, and that nothing is lost.

        Args:
            kept: whether the container has its file.
        """
        said = self.fab("doctor", *self.options, "deploy", *self.options, "pool.fsck", *self.options)
        assert " fail " not in said
        assert "they agree" in said
        if kept:
            assert self.machine.in_snapshot("kept", "cat file", self.ctr) == "still here\n"


def described(machine: Machine, directory: Path, settings: str) -> Path:
    """Write the lab's hosts.toml with further settings to a directory, and return its path."""
    file = directory / "hosts.toml"
    file.write_text(f"{(machine.vm.directory.parent / 'hosts.toml').read_text()}\n{settings}")
    return file


def named_and_fixed(place: Place, state: State) -> None:
    """Assert that every command names a state, and that what doctor prints ends it."""
    fab, options = place.fab, place.options
    place.shell(state.make, code=None)
    said = fab("doctor", *options, code=1)
    assert state.says in said, said
    hint = hint_in(said, state.says)
    assert state.says in fab("pool.status", *options, code=state.status)
    said = fab("pool.check", *options, code=state.check)
    assert (state.checked or (state.says if state.check == 2 else "")) in said
    if state.deploy:  # where it is 0, a deploy is another way out: here the one that doctor names is tried
        assert state.says in fab("deploy", *options, code=state.deploy)
    assert state.way in hint
    said = out(fab, place.machine, hint, code=None if state.then else 0)
    for words in state.then:
        hint = hint_in(said)
        hint = hint.partition("to continue without them: ")[2] or hint  # not the other way, a backup
        assert all(word in hint for word in words), hint
        said = out(fab, place.machine, hint, code=None)
    if " pool.fsck " in said and "to repair that" in said:
        out(fab, place.machine, said[said.index("to repair that") :])
    place.shell(state.after or END, code=None)
    place.well(kept=state.kept)


def out(fab: Fab, machine: Machine, hint: str, code: int | None = 0) -> str:
    """Type the fix as it was printed, command by command, and return the output.

    Args:
        fab: runs fab with words after the host's name.
        machine: the machine.
        hint: what was printed.
        code: required exit code of each; None: any.
    """
    assert typed.wrong(hint) == []
    first, _, then = hint.partition("; then ")
    commands = typed.commands(first)
    found = SHELL.search(first)
    if commands and not SHELL.search(first.partition(commands[0])[0]):
        said = fab(*shlex.split(commands[0])[3:], code=code)
    else:
        assert found, hint
        said = machine.ssh(found[0], code=code)
    return said + (out(fab, machine, then, code) if typed.commands(then) or SHELL.search(then) else "")


def hint_in(said: str, what: str = "") -> str:
    """Return the first fix in the output of a command, optionally of the finding `what`."""
    found = re.findall(rf"(?:(?:fail|FAIL) .*{re.escape(what)}.*\n.*→|hint:) (.*)", said)
    assert found, said
    return str(found[0])
