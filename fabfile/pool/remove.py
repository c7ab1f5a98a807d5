"""A pool of ours taken away again with all that depends on it, in the one order that works; purely from the facts.

A partial reset cannot be repaired: thin devices, pool, the snapshotter's database, containerd's metadata go together.
The settings go last: as long as they are there, whatever was interrupted knows what is still ours.
"""

from __future__ import annotations

import msgspec

from fabfile.facts import Facts, Query
from fabfile.plan import Change, Command, Step, file, words
from fabfile.pool import units, variants
from fabfile.pool.health import missing
from fabfile.pool.loop import fstab
from fabfile.pool.maintain import session
from fabfile.pool.maintain.session import ManagedPool
from fabfile.pool.ownership import within
from fabfile.render import render

RECORDS = "/var/lib/containerd-devmapper"


class Part(msgspec.Struct, frozen=True):
    """Something that can be taken away."""

    step: Step
    idle: str
    """Script that says, a line each, what speaks against it."""


SHARED = (units.SCRIPT, units.MODULES)
"""What all pools use: it goes with the last of them."""


class Removal(ManagedPool, frozen=True):
    """A pool that is to go."""

    uses: bool = True
    """Whether its containerd is on it, and so loses its images, containers and snapshots with it."""
    last: bool = True
    """Whether it is the last pool of ours."""
    force: bool = False
    """Also while containers run: they are killed."""

    @property
    def units(self) -> tuple[str, str, str]:
        """Its units, in the order in which they are stopped."""
        timer = units.monitor(self.name)
        return timer, timer.removesuffix("timer") + "service", units.unit(self.name)

    @property
    def own(self) -> tuple[str, ...]:
        """The files that are its own and nobody else's."""
        paths = [units.unit_path(self.name), *units.monitor_paths(self.name)]
        if self.uses:
            paths += [self.daemon.drop_in, self.daemon.mke2fs]
        if self.uses and self.daemon.instance:
            paths += [self.daemon.unit_path, self.daemon.config, f"{self.daemon.config}.bak"]
        return (*paths, *(SHARED if self.last else ()))

    def query(self, devices: tuple[str, ...] = ()) -> Query:
        """What to ask the machine about it."""
        files = {units.conf(self.name), units.SCRIPT, fstab.PATH, *variants.files(self.name), *self.own}
        query = Query(pool=self.name, dir=self.root, instance=self.daemon.instance, bin_dir=self.daemon.bin_dir)
        return msgspec.structs.replace(query, devices=devices, files=tuple(files), **self.record.where)


def step(pool: Removal, devices: tuple[str, ...] = ()) -> Step:
    """The step that leaves nothing of it; `devices` may be disks of it that are in no group any more."""
    return Step("pool.reset", lambda have: plan(have, pool), pool.query(devices))


def plan(have: Facts, pool: Removal) -> list[Change]:
    """What to do.

    Raises:
        Refused: others have something in the pool, or LVM does not say what is whose.
    """
    recorded, variant = units.conf(pool.name) in have.files, variants.of(pool.record)
    under = variant.remove(have, pool.name, pool.record, pool.force)
    own = _own(have, pool, recorded=recorded)
    if not (recorded or under or own or have.pool.table or have.pool.data_loop or have.pool.meta_loop):
        return []
    return [
        # What takes a pool down is that of this version, and there also where pool.loop did not come to writing it.
        *file(have, "the script that deactivates pools", units.SCRIPT, units.script(), mode=0o755),
        *variant.complete(have, pool.name),
        _down(pool),
        *under,
        *([_state(pool)] if recorded else []),
        *own,
        *([Command(f"forget the pool {pool.name}{_stays(have, pool)}", _forget(pool))] if recorded else []),
    ]


def _stays(have: Facts, pool: Removal) -> str:
    """What cannot be reached, and so stays where it is."""
    found = [loss.found for loss in missing.losses(have, pool.name) if loss.what in ("volume", "mount")]
    return f"; what it has there stays: {'; '.join(found)}" if found else ""


def _down(pool: Removal) -> Command:
    what = f"stop {pool.daemon.unit} and " if pool.uses else ""
    return Command(
        f"{'end containers, ' * pool.force}{what}take the pool {pool.name} down with all its thin devices",
        render("pool/down.sh.j2", pool=pool, daemon=pool.daemon),
        idle(pool),
    )


def idle(pool: Removal) -> str:
    """The shell function that says what speaks against taking the pool away."""
    return render("pool/idle.sh.j2", pool=pool, daemon=pool.daemon)


def _state(pool: Removal) -> Command:
    """What containerd knows of the pool, and what we do."""
    daemon = pool.daemon
    what = f"remove all images, containers and snapshots of {daemon}" if pool.uses else f"remove records of {pool.name}"
    return Command(what, render("pool/state.sh.j2", pool=pool, records=RECORDS))


def _own(have: Facts, pool: Removal, *, recorded: bool) -> list[Change]:
    # As long as there are settings all of it is removed, again: no look shows that an interrupted run left empty
    # directories, and the script that takes the pool down may just have been written.
    paths = (*pool.own, *variants.of(pool.record).files(pool.name))
    there = [path for path in paths if recorded or path in have.files]
    if not there:
        return []
    wants = " ".join(f"/etc/systemd/system/*.wants/{words(unit)}" for unit in pool.units)
    directories = {path.rpartition("/")[0] for path in there} & {f"{pool.daemon.unit_path}.d", *libexec(have)}
    script = [
        f"rm -f {wants} {words(*there)}",
        *emptied(*sorted(directories), f"{units.unit_path(pool.name)}.wants"),
        "systemctl daemon-reload",
    ]
    return [Command("remove its units and files", "\n".join(script))]


def libexec(have: Facts) -> tuple[str, ...]:
    """The directory of the script, where it was made for it: with Red Hat it is a package's."""
    return () if have.system.family == "redhat" else (units.SCRIPT.rpartition("/")[0],)


def emptied(*directories: str) -> list[str]:
    """Shell that removes those directories in which nothing is left."""
    return [f'if [ -d {d} ] && [ -z "$(ls -A {d})" ]; then rmdir {d}; fi' for d in map(words, directories)]


def _forget(pool: Removal) -> str:
    directory = pool.query().dir
    # Any other was there before.
    said = pool.record.dir_made
    made = within(directory, pool.daemon) if said is None else said
    marks = (f"{units.RUN_DIR}/{pool.name}.{end}" for end in ("lock", "warning", "watched", "checked"))
    # systemd keeps them, empty, for units that had an @ in their name.
    slices = (f"system-{name}.slice" for name in (r"devmapper\x2dpool", r"devmapper\x2dpool\x2dmonitor"))
    return "\n".join(
        [
            *([words("systemctl", "stop", *slices)] if pool.last else []),
            *([f"if ! mountpoint -q {words(directory)}; then", *emptied(directory), "fi"] if made else []),
            words("rm", "-f", *marks),
            *emptied(units.RUN_DIR, session.BACKUPS, RECORDS),
            words("rm", "-f", units.conf(pool.name), f"{units.conf(pool.name)}.new"),
            words("sync", units.CONF_DIR),
            *emptied(units.CONF_DIR),
        ]
    )
