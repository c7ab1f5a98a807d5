"""The state of a machine. A fact is a shell fragment and a pure parser; one script gathers all in one round trip.

system        distribution, kernel, architecture, systemd, device mapper
userland      the C library, and what mke2fs can do
needs         programs and headers that exist
versions      versions in /opt, and links to them
files         content and mode of files that steps write
containerd    the daemon: its origin, what runs, its plugins
config        the configuration that it reads
pool          the pool in question, and what is under it
instances     every containerd and every pool of the machine
smoke         the last smoke test that passed
proof         whether containerd can make a snapshot
units         states of systemd's units
known         what containerd's databases list
lvm           LVM's view of the machine
disks         inspected disks
query         what the facts are asked about
prelude       the beginning of the script, which several fragments need
record        the record of a pool, as a type
under         volume and loop devices under a loop pool; a part of the fact `pool`
volume_group  a volume group; a part of the fact `lvm`
toml_lines    lines of a TOML file, for messages
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fabfile.errors import Failed
from fabfile.facts import (
    config,
    containerd,
    disks,
    files,
    instances,
    known,
    lvm,
    needs,
    pool,
    prelude,
    proof,
    smoke,
    system,
    units,
    userland,
    versions,
)
from fabfile.facts.query import Query
from fabfile.once import once
from fabfile.remote import target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fabfile.remote.context import Context


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a host; what does not exist is null."""

    system: system.System
    userland: userland.Userland = userland.Userland()
    needs: frozenset[str]
    versions: dict[str, versions.Versions]
    files: dict[str, files.FileFact]
    containerd: containerd.Containerd
    config: config.Config = config.Config()
    """The files that containerd reads, and what it makes of them."""
    pool: pool.Pool
    instances: instances.Instances
    smoke: smoke.Smoke | None
    proof: str | None = None
    """Empty: containerd has just made a snapshot on the pool; otherwise why it could not. None: this was not tried."""
    units: units.Units = units.Units()
    known: known.DatabaseCounts = known.DatabaseCounts()
    lvm: lvm.Lvm | None = None
    disks: tuple[disks.Disk, ...] = ()


class Unasked:
    """In place of a fact that the query did not ask for; a plan that reads it is a mistake in this program."""

    def __init__(self, name: str) -> None:
        self.name = name

    def refuse(self, *_: object) -> Any:
        """Have no value.

        Raises:
            LookupError: always.
        """
        raise LookupError(f"the query did not ask for the fact {self.name}")

    __getattr__ = __contains__ = __iter__ = refuse


class Fact(Protocol):
    """What every module in `MODULES` provides; mypy checks it."""

    def fragment(self, query: Query, /) -> str:
        """Return the shell script that prints what `parse` reads, in a subshell; empty: nothing is to be printed."""

    def parse(self, text: str, /) -> Any:
        """Parse what the fragment printed into the value of the field of `Facts`.

        Raises:
            LookupError: the output is not understood.
            ValueError: the same.
        """


MODULES: dict[str, Fact] = {
    "system": system,
    "userland": userland,
    "needs": needs,
    "versions": versions,
    "files": files,
    "containerd": containerd,
    "config": config,
    "pool": pool,
    "instances": instances,
    "smoke": smoke,
    "proof": proof,
    "units": units,
    "known": known,
    "lvm": lvm,
    "disks": disks,
}

BESIDE = tuple(name for name in MODULES if name not in ("system", "userland", "needs", "versions", "disks"))
"""Facts that depend on which containerd and pool a query is about. Disks are not among them: a query names its own."""

SHOWN = 2000
"""Limit for the characters of a fragment's output in an error."""

ALWAYS = ("system", "units")
"""Names of the facts without which nothing is changed, see `apply`."""


def asked(query: Query) -> tuple[str, ...]:
    """Names of the facts that a query asks for, in the order of `MODULES`."""
    return tuple(name for name in MODULES if not query.only or name in (*ALWAYS, *query.only))


@once  # the hosts of a fleet are asked the same
def script(query: Query, names: tuple[str, ...] = ()) -> str:
    """Compose the facts script: each fragment in a subshell, after a line `@@ NAME`.

    Args:
        query: what the facts are about.
        names: names of the facts to gather; empty: those that the query asks for.
    """
    names = names or asked(query)
    fragments = {name: MODULES[name].fragment(query) for name in names}
    parts = {name: f"(\n{fragment}\n)\n" if fragment else "" for name, fragment in fragments.items()}
    return prelude.text(query, names) + "".join(f"echo '@@ {name}'\n{part}" for name, part in parts.items())


def parse(output: str, names: Sequence[str] = tuple(MODULES), have: Facts | None = None) -> Facts:
    """Parse the output of the facts script.

    Args:
        output: what the script printed.
        names: names of the facts that it gathered.
        have: facts gathered before, from which the others are taken; None: nothing may read the others.

    Raises:
        Failed: a section is missing, so the script did not finish; or a section cannot be parsed.
    """
    sections: dict[str, str] = {}
    for part in ("\n" + output).split("\n@@ ")[1:]:
        name, _, text = part.partition("\n")
        sections[name] = text
    missing = [name for name in names if name not in sections]
    if missing:
        raise Failed("the facts script did not finish", f"missing: {', '.join(missing)}\n{output[-500:]}")
    values: dict[str, Any] = {} if have else {name: Unasked(name) for name in MODULES}
    for name in names:
        try:
            values[name] = MODULES[name].parse(sections[name])
        except (LookupError, ValueError) as error:
            raise Failed(
                f"cannot parse the {name} facts of this host",
                f"{error!r:.500} in:\n{sections[name][:SHOWN]}",
            ) from error
    return msgspec.structs.replace(have, disks=(), **values) if have else Facts(**values)


def gather(c: Context, query: Query) -> Facts:
    """Gather the facts of a machine with one command; nothing is changed, unless `query.prove` is set.

    Raises:
        Failed: the script failed, or its output cannot be parsed.
    """
    return parse(target.sh(c, script(query), "gathering facts", read_only=not query.prove), asked(query))


def gather_beside(c: Context, query: Query, have: Facts) -> Facts:
    """Gather the facts of another containerd or pool on a machine whose facts have just been gathered.

    Args:
        c: the machine.
        query: what the facts are about.
        have: the facts gathered first; those of the machine as a whole are taken from them.

    Raises:
        Failed: see `gather`.
    """
    return parse(target.sh(c, script(query, BESIDE), "gathering facts", read_only=True), BESIDE, have)
