"""Removal of a pool of ours and of everything that depends on it, in the only order that works.

Thin devices, pool, the snapshotter's database and containerd's metadata must go together: what is left of a partial
removal cannot be repaired. The record goes last, so the next run of an interrupted removal still knows what is ours.
"""

from __future__ import annotations

import msgspec

from fabfile.facts import Facts
from fabfile.facts.query import POOL, Query
from fabfile.facts.record import LvmRecord
from fabfile.plan import Change, Command, Step
from fabfile.pool import limits, units, variants
from fabfile.pool.health import missing
from fabfile.pool.loop import fstab
from fabfile.pool.maintain import actions
from fabfile.pool.maintain.actions import ManagedPool
from fabfile.pool.ownership import within
from fabfile.render import render
from fabfile.shell import words

RECORDS = "/var/lib/containerd-devmapper"


class Part(msgspec.Struct, frozen=True):
    """One part of a removal."""

    step: Step
    idle: str
    """Script that prints a line for everything that prevents the removal."""


SHARED = (units.SCRIPT, units.MODULES)
"""Files that all pools share; they are removed with the last pool."""


class Removal(ManagedPool, frozen=True):
    """A pool to be removed."""

    uses: bool = True
    """Whether its containerd is configured for it, and so loses its images, containers and snapshots."""
    last: bool = True
    """Whether it is the last pool of ours on the machine."""
    force: bool = False
    """Remove it even if containers run; they are killed."""

    @property
    def units(self) -> tuple[str, str, str]:
        """Its units, in the order in which they are stopped."""
        timer = units.monitor(self.name)
        return timer, timer.removesuffix("timer") + "service", units.unit(self.name)

    @property
    def own(self) -> tuple[str, ...]:
        """The files that belong to it alone."""
        paths = [units.unit_path(self.name), *units.monitor_paths(self.name)]
        if self.uses:
            paths += [self.daemon.drop_in_path, self.daemon.mke2fs_path]
        if self.uses and self.daemon.instance:
            paths += [self.daemon.unit_path, self.daemon.config_path, f"{self.daemon.config_path}.bak"]
        return (*paths, *(SHARED if self.last else ()))

    def query(self, devices: tuple[str, ...] = ()) -> Query:
        """The query for the facts that the plan needs.

        Args:
            devices: disks that may have been released from the volume group already.
        """
        files = {units.conf(self.name), units.SCRIPT, fstab.PATH, *variants.files(self.name), *self.own}
        query = Query(
            pool=self.name, dir=self.root, instance=self.daemon.instance, bin_dir=self.daemon.bin_dir, only=POOL
        )
        return msgspec.structs.replace(query, devices=devices, files=tuple(files), **self.record.where)


def step(pool: Removal, devices: tuple[str, ...] = ()) -> Step:
    """The step that removes the pool.

    Args:
        pool: the pool.
        devices: disks that may have been released from its volume group already.
    """
    return Step("pool.reset", lambda have: plan(have, pool), pool.query(devices))


def plan(have: Facts, pool: Removal) -> list[Change]:
    """Plan the removal.

    Raises:
        Refused: others have something in the pool, or LVM does not show which parts are whose, or is not installed.
    """
    recorded, variant = units.conf(pool.name) in have.files, variants.of(pool.record)
    if recorded and (isinstance(pool.record, LvmRecord) or pool.record.volume_made):
        # Without it nothing would be found, and the pool forgotten all the same.
        limits.refuse_missing_programs(have, ("lvm",))
    under = variant.remove(have, pool.name, pool.record, pool.force)
    own = _own(have, pool, recorded=recorded)
    if not (recorded or under or own or have.pool.table or have.pool.data_loop or have.pool.meta_loop):
        return []
    return [
        # The script of this version takes the pool down, even if pool.loop was interrupted before it wrote the script.
        *units.script_changes(have, "deactivates"),
        *variant.complete(have, pool.name),
        _down(pool),
        *under,
        *([_state(pool)] if recorded else []),
        *own,
        *([Command(f"forget the pool {pool.name}{_stays(have, pool)}", _forget(pool))] if recorded else []),
    ]


def _stays(have: Facts, pool: Removal) -> str:
    """What cannot be reached, and therefore stays. A file system that was made with the pool goes, mounted or not."""
    kinds = ("volume",) if pool.record.volume_dir else ("volume", "mount")
    found = [loss.found for loss in missing.losses(have, pool.name) if loss.what in kinds]
    return f"; what it has there stays: {'; '.join(found)}" if found else ""


def _down(pool: Removal) -> Command:
    end = "end containers, " if pool.force else ""
    stop = f"stop {pool.daemon.unit} and " if pool.uses else ""
    return Command(
        f"{end}{stop}take the pool {pool.name} down with all its thin devices",
        render("pool/down.sh.j2", pool=pool, daemon=pool.daemon),
        idle(pool),
    )


def idle(pool: Removal) -> str:
    """The shell function that prints what prevents the removal of a pool."""
    return render("pool/idle.sh.j2", pool=pool, daemon=pool.daemon)


def _state(pool: Removal) -> Command:
    """The change that removes containerd's state and our own records of the pool."""
    daemon = pool.daemon
    what = f"remove all images, containers and snapshots of {daemon}" if pool.uses else f"remove records of {pool.name}"
    return Command(what, render("pool/state.sh.j2", pool=pool, records=RECORDS))


def _own(have: Facts, pool: Removal, *, recorded: bool) -> list[Change]:
    # While there is a record, all of them are removed again: facts do not show empty directories that an
    # interrupted run left behind, and the script that takes the pool down may have been written a moment ago.
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
    """The script's directory, unless a package owns it, as on Red Hat."""
    return () if have.system.family == "redhat" else (units.SCRIPT.rpartition("/")[0],)


def emptied(*directories: str) -> list[str]:
    """Shell lines that remove those of the directories that are empty, and neither a link nor mounted."""
    return [
        f'if [ -d {d} ] && [ ! -L {d} ] && [ -z "$(ls -A {d})" ] && ! mountpoint -q {d}; then rmdir {d}; fi'
        for d in map(words, directories)
    ]


def _forget(pool: Removal) -> str:
    directory = pool.query().dir
    # An earlier version did not record this; outside of containerd's root the directory existed before the pool.
    said = pool.record.dir_made
    made = within(directory, pool.daemon) if said is None else said
    marks = (f"{units.RUN_DIR}/{pool.name}.{end}" for end in ("lock", "warning", "watched", "checked"))
    # systemd keeps the slices of template units after the last of their units has stopped.
    slices = (f"system-{name}.slice" for name in (r"devmapper\x2dpool", r"devmapper\x2dpool\x2dmonitor"))
    return "\n".join(
        [
            *([words("systemctl", "stop", *slices)] if pool.last else []),
            *(emptied(directory) if made else []),
            words("rm", "-f", *marks),
            *emptied(units.RUN_DIR, actions.BACKUPS, RECORDS),
            words("rm", "-f", units.conf(pool.name), f"{units.conf(pool.name)}.new"),
            words("sync", units.CONF_DIR),
            *emptied(units.CONF_DIR),
        ]
    )
