"""A machine with a pool that does as it is told: each change is answered by its reason, and recorded."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import pytest

import tasks
from fabfile import apply, converge, facts
from fabfile.errors import Unreachable
from fabfile.facts import Facts, instances
from fabfile.facts.containerd import Containerd, Plugin
from fabfile.host import Host
from fabfile.instance import Daemon
from fabfile.output import outcome
from fabfile.output.outcome import TaskReport
from fabfile.plan import Change
from fabfile.pool import units
from fabfile.pool.maintain.thin_devices import DatabaseEntry, Snapshot
from fabfile.remote import lock
from tests.unit.fakes import Machine
from tests.unit.pool import databases, groups, loops

RUNS = Containerd(active=True, plugins=(Plugin("io.containerd.snapshotter.v1", "devmapper", "ok"),))
"""A containerd that uses its pool."""


def running(have: Facts, name: str) -> Facts:
    """The same machine with the pool's record among all records, and with a running containerd configured for it."""
    conf = units.conf(name)
    lines = have.files[conf].content.splitlines()
    configured = [f"[plugins.'{instances.PLUGINS[0]}']", f"pool_name = '{name}'"]
    made = instances.parse(
        "".join(f"conf {conf}|{line}\n" for line in lines)
        + "".join(f"toml {Daemon().config_path}|{line}\n" for line in configured)
    )
    return msgspec.structs.replace(have, instances=made, containerd=RUNS)


def on_files() -> Facts:
    """A machine with a loop pool in use."""
    return running(loops.machine(), loops.NAME)


def on_disks() -> Facts:
    """A machine with a direct pool in use."""
    return running(groups.made(), groups.NAME)


POOLS = {loops.NAME: on_files, groups.NAME: on_disks}
"""Name of a pool → a machine that has it: one of each variant."""

both = pytest.mark.parametrize("name", POOLS)
"""A test of both variants."""


def with_pool(have: Facts, **changes: Any) -> Facts:
    """The same machine with another state of its pool."""
    return msgspec.structs.replace(have, pool=msgspec.structs.replace(have.pool, **changes))


def with_status(have: Facts, **changes: Any) -> Facts:
    """The same machine with another status of its pool."""
    assert have.pool.status
    return with_pool(have, status=msgspec.structs.replace(have.pool.status, **changes))


def full(have: Facts) -> Facts:
    """The same machine with full metadata."""
    assert have.pool.status
    return with_status(have, mode="ro", used_meta=have.pool.status.total_meta)


def without(have: Facts, tool: str) -> Facts:
    """The same machine without a program."""
    return msgspec.structs.replace(have, needs=have.needs - {tool})


def packed(**files: bytes) -> str:
    """Copies of databases as a script prints them, under their names in its output."""
    return "".join(f"{name} {base64.b64encode(gzip.compress(content)).decode()}\n" for name, content in files.items())


def copies(name: str, numbers: Collection[int], prefix: str = "", *, box: int = 0) -> str:
    """containerd's databases of a pool as a script prints them.

    Args:
        name: the pool's name.
        numbers: numbers of its committed snapshots, which are also their thin ids.
        prefix: prefix for the names of the databases.
        box: number of the snapshot of a container `box`; 0: there is none.
    """
    entries = {(of := f"{name}-snap-{number}"): DatabaseEntry(number, of, "", "Deactivated", 1) for number in numbers}
    there = [Snapshot(number, f"default/{number}/k{number}", "Committed") for number in numbers]
    last = max(numbers, default=0)
    files = {f"{prefix}db": databases.pool(entries, last), f"{prefix}snap": databases.snapshots(there, last)}
    keys = {f"k{number}": (f"default/{number}/k{number}", "") for number in numbers}
    images = {} if prefix else {"records": databases.records(keys, {}, {"box": f"k{box}"} if box else {})}
    return packed(**files, **images)


class PoolMachine(Machine):
    """Answers each change by its reason.

    Args:
        states: facts of the machine, one after the other; the last are repeated.
        says: start of a change's reason → its outputs, one after the other; the last is repeated.
        fails: start of a change's reason → its exit code.
        asked: part of a script that changes nothing → its output.
        becomes: start of a change's reason → facts of the machine after that change.
        dry: whether --dry was given.
    """

    def __init__(
        self,
        states: Sequence[Facts],
        says: Mapping[str, str | Sequence[str]] | None = None,
        fails: Mapping[str, int] | None = None,
        asked: Mapping[str, str] | None = None,
        becomes: Mapping[str, Facts] | None = None,
        *,
        dry: bool = False,
    ) -> None:
        super().__init__(["@@ system"], dry=dry)
        self.host_entry = Host()
        self.states = list(states)
        self.fails, self.asked, self.becomes = fails or {}, asked or {}, becomes or {}
        self.says = {why: [text] if isinstance(text, str) else [*text] for why, text in (says or {}).items()}
        self.planned: Sequence[Change] = ()
        self.lost_at = ""
        """Start of the reason of the change at which the machine is lost."""
        self.done: list[str] = []
        """The reasons of all changes that were started."""

    def state(self) -> Facts:
        """The facts that are gathered next."""
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def apply(self, c: Any, name: str, changes: list[Change], have: Facts, facts_script: str = "") -> str:
        """Apply changes as usual, after recording their reasons."""
        self.planned = changes
        return apply.apply(c, name, changes, have, facts_script)

    def answer(self, script: str, data: bytes) -> tuple[int, str]:
        """Make the planned changes, or answer another script."""
        if lock.LOCK not in script:
            said = [text for part, text in self.asked.items() if part in script]
            return (0, said[0]) if said else super().answer(script, data)
        self.scripts.append(script)
        printed = ""
        for number, change in enumerate(self.planned):
            if self.lost_at and change.why.startswith(self.lost_at):
                raise Unreachable("the machine is off")
            self.done.append(change.why)
            printed += f"@@{number}\n{self._said(change.why)}\n"
            if code := next((code for why, code in self.fails.items() if change.why.startswith(why)), 0):
                return code, f"{printed}{change.why} went wrong"
            self.states = [have for why, have in self.becomes.items() if change.why.startswith(why)] or self.states
        return 0, printed

    def _said(self, reason: str) -> str:
        said = next((said for why, said in self.says.items() if reason.startswith(why)), [""])
        return said.pop(0) if len(said) > 1 else said[0]


Make = Callable[..., PoolMachine]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes such a machine; facts are gathered from the one made last."""

    def make(*states: Facts, **options: Any) -> PoolMachine:
        c = PoolMachine(states, **options)
        monkeypatch.setattr(facts, "parse", lambda *_: c.state())
        monkeypatch.setattr(converge, "apply", c.apply)
        return c

    return make


def done(task: str, c: Any, **given: Any) -> TaskReport:
    """Run a task like the executors, and return its report."""
    report, _ = outcome.perform(task, partial(tasks.ns[task].body, c, **given), remote=False)
    return report


def trouble(report: TaskReport, status: str) -> outcome.Trouble:
    """The error of a task that ended with this status."""
    assert report.status == status, report.error
    assert report.error
    return report.error
