"""What is done to a pool once, on request: found, planned, done under the machine's lock, its answer handed back."""

from __future__ import annotations

import atexit
import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from time import monotonic

import msgspec

from fabfile import hints, target
from fabfile.console import say
from fabfile.context import Context
from fabfile.converge import act, preview
from fabfile.distributions import PACKAGES
from fabfile.errors import Pending, Refused
from fabfile.facts import Facts, Query, gather
from fabfile.facts.record import Record, variant
from fabfile.instance import Daemon
from fabfile.outcome import Outcome, note
from fabfile.plan import Change
from fabfile.pool import units
from fabfile.pool.health import missing, usable
from fabfile.pool.lookup import choose, look
from fabfile.render import render

BACKUPS = "/var/lib/containerd-devmapper/backup"


class ManagedPool(msgspec.Struct, frozen=True):
    """A pool of ours, and the containerd on it: what scripts are rendered with."""

    name: str
    daemon: Daemon
    record: Record
    root: str
    """Where containerd keeps the snapshotter's databases."""

    def command(self, task: str, *options: str) -> str:
        """How to type `task` about it."""
        return hints.command(task, self.daemon, self.name, *options)

    def render(self, name: str, **values: object) -> str:
        """The script of templates/pool/VARIANT that does `name` in the way of its variant."""
        return render(f"pool/{variant(self.record)}/{name}.sh.j2", pool=self, **values)

    @property
    def database(self) -> str:
        """containerd's record of the thin devices."""
        return f"{self.root}/{self.name}.db"

    @property
    def snapshots(self) -> str:
        """containerd's record of the snapshots on them."""
        return f"{self.root}/metadata.db"

    @property
    def records(self) -> str:
        """containerd's record of images, containers and their snapshots."""
        return f"{self.daemon.root}/io.containerd.metadata.v1.bolt/meta.db"

    @property
    def backups(self) -> str:
        """Where backups of its metadata are."""
        return f"{BACKUPS}/{self.name}"

    @property
    def conf(self) -> str:
        """Its settings file: the record of what is ours."""
        return units.conf(self.name)

    @property
    def unit(self) -> str:
        """Name of its unit."""
        return units.unit(self.name)

    @property
    def script(self) -> str:
        """What activates and deactivates pools."""
        return units.SCRIPT


class Session(ManagedPool, frozen=True):
    """Such a pool on a machine, and what is known of that."""

    query: Query
    have: Facts
    """As it was looked at last."""


def find(
    c: Context,
    name: str,
    instance: str,
    tools: Iterable[str] = (),
    *,
    without: frozenset[str] = frozenset(),
    lvm: bool = False,
    ids: bool = False,
) -> Session:
    """The pool of a containerd, whatever its variant.

    Args:
        c: the machine.
        name: of the pool; empty: the one that this containerd has.
        instance: the containerd; see inventory.of.
        tools: programs that will be needed on the machine.
        without: what of a pool on files may be missing, see `missing.Loss`.
        lvm: LVM is needed for it also while the pool is up.
        ids: LVM's thin volumes in it, and its transaction id, are no hindrance.

    Raises:
        Refused: there is none, it is another containerd's, a part of it is missing, LVM does not see it as it is, it is
            suspended, or a program is missing.
    """
    host, query, have = look(c, name, instance)
    name = choose(have, host.daemon, query.pool, named=bool(name))
    config = have.instances.configs.get(host.daemon.config)
    root = (config.pool_root if config and config.pool == name else "") or host.pool.dir
    missing.refuse(have, name, except_for=without)
    usable.refuse_unusable(have, name, lvm=lvm, ids=ids)
    need(have, tools)
    return Session(name, host.daemon, have.instances.pools[name], root.rstrip("/"), query, have)


def need(have: Facts, tools: Iterable[str]) -> None:
    """Refuse a machine that lacks one of the programs `tools`, see facts/needs.py.

    Raises:
        Refused: with the package that has it.
    """
    absent = [tool for tool in tools if tool not in have.needs]
    if absent:
        table = PACKAGES.get(have.system.family, PACKAGES["debian"])
        packages = " ".join(sorted({table[tool] for tool in absent}))
        raise Refused(
            f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing on this machine",
            f"package: {packages}",
            hint=f"install it: {hints.command('packages')}",
        )


class Blob(msgspec.Struct, frozen=True):
    """Bytes that go to a machine as a file: lists of any length, databases. It is a `plan.Source`."""

    what: str
    content: bytes

    @property
    def label(self) -> str:
        """What it is, and its digest."""
        return f"{self.what}-{hashlib.sha256(self.content).hexdigest()[:16]}"

    def path(self) -> Path:
        """Write it to a file of this process's own, which ends with it."""
        directory = _directory()
        path = directory / self.label
        if not path.exists():
            path.write_bytes(self.content)
        return path


@cache
def _directory() -> Path:
    directory = tempfile.TemporaryDirectory(prefix="containerd-devmapper-")
    atexit.register(directory.cleanup)
    return Path(directory.name)


def do(c: Context, task: str, found: Session, changes: Sequence[Change], *, looks: bool = False) -> str:
    """Make the changes and return what they printed. With --dry only show them.

    Args:
        c: the machine.
        task: who asks.
        found: the pool.
        changes: what to do.
        looks: it changes nothing that lasts.

    Raises:
        Pending: with --dry.
        Failed: a change failed, or the machine keeps changing.
    """
    only_planned(c, task, changes)
    start = monotonic()
    done = act(c, task, lambda have: [*changes], found.have, found.query)
    reason = "; ".join(change.why for change in changes)
    note(Outcome(task, "ok" if looks else "changed", reason, round(monotonic() - start, 2), [*changes]))
    return "\n".join(line for line in done.printed.splitlines() if not line.startswith("@@"))


def only_planned(c: Context, task: str, changes: Sequence[Change], *, then: str = "") -> None:
    """With --dry, show the changes and go no further.

    Args:
        c: the machine.
        task: name of the task that would make the changes.
        changes: what it would do.
        then: what it would also do, depending on what the changes find.

    Raises:
        Pending: with --dry.
    """
    if target.is_dry(c):
        preview([(task, [*changes])])
        if then:
            say(f"    {then}")
        raise Pending


def again(c: Context, found: Session) -> Session:
    """The same pool as it is now."""
    return msgspec.structs.replace(found, have=gather(c, found.query))


def applied(found: Session) -> Session:
    """The same pool after one plan of ours was applied that changed nothing of it: only the generation is the next one.

    Where somebody else changed something meanwhile, that is noticed as ever: the generation is another one.
    """
    system = found.have.system
    following = str(int(system.generation) + 1) if system.generation.isdecimal() else ""
    have = msgspec.structs.replace(found.have, system=msgspec.structs.replace(system, generation=following))
    return msgspec.structs.replace(found, have=have)


def answer(printed: str, key: str) -> list[str] | None:
    """The words behind the last line `@KEY` of what a script printed; None where it printed none."""
    lines = [line.split()[1:] for line in printed.splitlines() if line.split()[:1] == [f"@{key}"]]
    return lines[-1] if lines else None
