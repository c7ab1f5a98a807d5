"""One-time actions on a pool: find it, plan, change it under the host's lock, and return what the scripts printed."""

from __future__ import annotations

import atexit
import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import monotonic

import msgspec

from fabfile import hints
from fabfile.console import say
from fabfile.converge import act, preview
from fabfile.errors import Pending
from fabfile.facts import Facts, gather
from fabfile.facts.query import Query
from fabfile.facts.record import Record, variant
from fabfile.instance import Daemon
from fabfile.once import once
from fabfile.output.outcome import Outcome, note
from fabfile.plan import Change, Command
from fabfile.pool import limits, units
from fabfile.pool.health import missing, usable
from fabfile.pool.lookup import choose, find_pool
from fabfile.remote import target
from fabfile.remote.context import Context
from fabfile.render import render

BACKUPS = "/var/lib/containerd-devmapper/backup"

FACTS = ("needs", "files", "containerd", "pool", "instances", "lvm")
"""Facts that a task needs before it acts on a pool."""


class ManagedPool(msgspec.Struct, frozen=True):
    """A pool of ours and its containerd, with which scripts are rendered."""

    name: str
    daemon: Daemon
    record: Record
    root: str
    """Directory of the snapshotter's databases."""

    def command(self, task: str, *options: str) -> str:
        """The command line of a task on this pool."""
        return hints.command(task, self.daemon, self.name, *options)

    def render(self, name: str, **values: object) -> str:
        """Render templates/pool/VARIANT/`name`.sh.j2 for this pool."""
        return render(f"pool/{variant(self.record)}/{name}.sh.j2", pool=self, **values)

    @property
    def database(self) -> str:
        """Path of containerd's database of thin devices."""
        return f"{self.root}/{self.name}.db"

    @property
    def snapshots(self) -> str:
        """Path of the snapshotter's database of snapshots."""
        return f"{self.root}/metadata.db"

    @property
    def records(self) -> str:
        """Path of containerd's own database: images, containers and their snapshots."""
        return f"{self.daemon.root}/io.containerd.metadata.v1.bolt/meta.db"

    @property
    def backups(self) -> str:
        """Directory of the backups of its metadata."""
        return f"{BACKUPS}/{self.name}"

    @property
    def unfinished(self) -> str:
        """Path of a file that names the backup whose restore has begun and is not finished."""
        return f"{self.backups}/unfinished"

    @property
    def conf(self) -> str:
        """Path of its record."""
        return units.conf(self.name)

    @property
    def unit(self) -> str:
        """Name of the unit that activates it."""
        return units.unit(self.name)

    @property
    def script(self) -> str:
        """Path of the script that activates and deactivates pools."""
        return units.SCRIPT


class InspectedPool(ManagedPool, frozen=True):
    """A managed pool on a machine, with the facts."""

    query: Query
    have: Facts
    """The facts, as gathered last."""


def find(
    c: Context,
    name: str,
    instance: str,
    tools: Iterable[str] = (),
    *,
    without: frozenset[str] = frozenset(),
    lvm: bool = False,
    ids: bool = False,
) -> InspectedPool:
    """Find the pool that a task means.

    Args:
        c: the machine.
        name: pool name; empty: the pool of this containerd.
        instance: the containerd instance; see `inventory.of`.
        tools: programs that the task needs on the machine.
        without: parts of a loop pool that may be missing; see `missing.Loss`.
        lvm: the task needs LVM even while the pool is active.
        ids: accept LVM's own thin volumes in the pool, and another transaction id.

    Raises:
        Refused: the pool does not exist, belongs to another containerd, lacks a part, is suspended, or LVM does not see
            it as it is; or a program is missing.
    """
    host, query, have = find_pool(c, name, instance, FACTS)
    name = choose(have, host.daemon, query.pool, named=bool(name))
    config = have.instances.configs.get(host.daemon.config_path)
    root = (config.pool_root if config and config.pool == name else "") or host.pool.dir
    missing.refuse(have, name, except_for=without)
    usable.refuse_unusable(have, name, lvm=lvm, ids=ids)
    limits.refuse_missing_programs(have, tools)
    return InspectedPool(name, host.daemon, have.instances.pools[name], root.rstrip("/"), query, have)


def listing(pool: ManagedPool) -> Command:
    """Print containerd's database of thin devices; nothing is changed."""
    return Command("devices that containerd uses", render("pool/database.sh.j2", pool=pool))


class Blob(msgspec.Struct, frozen=True):
    """Bytes to be uploaded as a file: long lists, or databases. It is a `plan.UploadSource`."""

    what: str
    content: bytes

    @property
    def label(self) -> str:
        """Its name, with a digest of its content."""
        return f"{self.what}-{hashlib.sha256(self.content).hexdigest()[:16]}"

    def path(self) -> Path:
        """Write it to a temporary file that is removed when this process ends."""
        directory = _directory()
        path = directory / self.label
        if not path.exists():
            path.write_bytes(self.content)
        return path


@once
def _directory() -> Path:
    directory = tempfile.TemporaryDirectory(prefix="containerd-devmapper-")
    atexit.register(directory.cleanup)
    return Path(directory.name)


def do(c: Context, task: str, pool: InspectedPool, changes: Sequence[Change], *, read_only: bool = False) -> str:
    """Make changes, and return what they printed.

    Args:
        c: the machine.
        task: name of the task that makes the changes.
        pool: the pool.
        changes: what to do.
        read_only: whether nothing is changed in the end, as by a check; for the reported status.

    Raises:
        Pending: with --dry, after the changes have been printed.
        Failed: a change failed, or others keep changing the machine.
    """
    only_planned(c, task, changes)
    start = monotonic()
    done = act(c, task, lambda have: [*changes], pool.have, pool.query)
    reason = "; ".join(change.why for change in changes)
    note(Outcome(task, "ok" if read_only else "changed", reason, round(monotonic() - start, 2), [*changes]))
    return "\n".join(line for line in done.printed.splitlines() if not line.startswith("@@"))


def only_planned(c: Context, task: str, changes: Sequence[Change], *, then: str = "") -> None:
    """With --dry, print the changes and end the task.

    Args:
        c: the machine.
        task: name of the task that would make the changes.
        changes: what it would do.
        then: what else it would do, depending on the outcome of the changes.

    Raises:
        Pending: with --dry.
    """
    if target.is_dry(c):
        preview([(task, [*changes])])
        if then:
            say(f"    {then}")
        raise Pending


def again(c: Context, pool: InspectedPool) -> InspectedPool:
    """Gather the facts of a pool again, and return the pool with them."""
    return msgspec.structs.replace(pool, have=gather(c, pool.query))


def applied(pool: InspectedPool) -> InspectedPool:
    """Return the pool with the generation that the host has after a script of ours that left the pool unchanged.

    If somebody else has changed the host meanwhile, its generation is another one, and the next script is not run.
    """
    system = pool.have.system
    following = str(int(system.generation) + 1) if system.generation.isdecimal() else ""
    have = msgspec.structs.replace(pool.have, system=msgspec.structs.replace(system, generation=following))
    return msgspec.structs.replace(pool, have=have)


def reported(printed: str, key: str) -> list[str] | None:
    """Return the words of the last line `@KEY WORD …` that a script printed; None if there is none."""
    lines = [line.split()[1:] for line in printed.splitlines() if line.split()[:1] == [f"@{key}"]]
    return lines[-1] if lines else None
