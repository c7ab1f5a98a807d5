"""A pool of ours taken away again with all that depends on it, in the one order that works; purely from the facts.

A partial reset cannot be repaired: thin devices, pool, the snapshotter's database, containerd's metadata go together.
The settings go last: as long as they are there, whatever was interrupted knows what is still ours.
"""

from __future__ import annotations

import msgspec

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.facts import Facts, Query
from fabfile.facts.pool import Backing
from fabfile.plan import Change, Command, Step, file, words
from fabfile.pool import units
from fabfile.pool.health import missing, rerun, visibility
from fabfile.pool.loop import fstab, volume
from fabfile.pool.lvm import give_back, volume_group
from fabfile.pool.maintain import session
from fabfile.pool.maintain.session import Made
from fabfile.pool.ownership import directory, within
from fabfile.pool.safety import gate
from fabfile.render import render

RECORDS = "/var/lib/containerd-devmapper"


class Part(msgspec.Struct, frozen=True):
    """Something that can be taken away."""

    step: Step
    idle: str
    """Script that says, a line each, what speaks against it."""


SHARED = (units.SCRIPT, units.MODULES)
"""What all pools use: it goes with the last of them."""


class Going(Made, frozen=True):
    """A pool that is to go."""

    uses: bool = True
    """Whether its containerd is on it, and so loses its images, containers and snapshots with it."""
    last: bool = True
    """Whether it is the last pool of ours."""
    force: bool = False
    """Also while containers run: they are killed."""

    @property
    def alone_in(self) -> str:
        """loop: where a volume is mounted that goes with the pool, or nothing."""
        made = self.settings.get("VOLUME_MADE", "").split()
        return directory(self.settings) if {"volume", "filesystem"} & set(made) else ""

    @property
    def profile(self) -> str:
        """direct: LVM's profile of it, in the usual place."""
        return f"{volume_group.PROFILES}/{self.name}.profile"

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
        where = directory(self.settings) or self.root
        return Query(
            pool=self.name, dir=where, instance=self.daemon.instance, bin_dir=self.daemon.bin_dir, devices=devices,
            vg=self.settings.get("VG", ""), volume=self.settings.get("VOLUME", ""),
            files=tuple({units.conf(self.name), units.SCRIPT, self.profile, fstab.PATH, *self.own}),
        )  # fmt: skip


def step(pool: Going, devices: tuple[str, ...] = ()) -> Step:
    """The step that leaves nothing of it; `devices` may be disks of it that are in no group any more."""
    return Step("pool.reset", lambda have: plan(have, pool), pool.query(devices))


def plan(have: Facts, pool: Going) -> list[Change]:
    """What to do.

    Raises:
        Refused: others have something in the pool, or LVM does not say what is whose.
    """
    recorded = units.conf(pool.name) in have.files
    under = _direct(have, pool) if pool.direct else _loop(have, pool, recorded=recorded)
    # The files go before the volume that they are on, and that before the directory of containerd that it may be in.
    under += volume.undone(have, pool.settings, pool.name, units.conf(pool.name), pool.query().dir)
    own = _own(have, pool, recorded=recorded)
    if not (recorded or under or own or have.pool.table or have.pool.data_loop or have.pool.meta_loop):
        return []
    return [
        # What takes a pool down is that of this version, and there also where pool.loop did not come to writing it.
        *file(have, "the script that deactivates pools", units.SCRIPT, units.script(), mode=0o755),
        *(give_back.recorded(have, pool.name, pool.settings) if pool.direct else []),
        _down(pool),
        *under,
        *([_state(pool)] if recorded else []),
        *own,
        *([Command(f"forget the pool {pool.name}{_stays(have, pool)}", _forget(pool))] if recorded else []),
    ]


def _stays(have: Facts, pool: Going) -> str:
    """What cannot be reached, and so stays where it is."""
    found = [loss.found for loss in missing.losses(have, pool.name) if loss.what in ("volume", "mount")]
    return f"; what it has there stays: {'; '.join(found)}" if found else ""


def _down(pool: Going) -> Command:
    what = f"stop {pool.daemon.unit} and " if pool.uses else ""
    return Command(
        f"{'end containers, ' * pool.force}{what}take the pool {pool.name} down with all its thin devices",
        render("pool/down.sh.j2", pool=pool, daemon=pool.daemon),
        idle(pool),
    )


def idle(pool: Going) -> str:
    """The shell function that says what speaks against taking the pool away."""
    return render("pool/idle.sh.j2", pool=pool, daemon=pool.daemon)


def _loop(have: Facts, pool: Going, *, recorded: bool) -> list[Change]:
    """Remove the files, as far as they are the pool's and can be reached."""
    now = have.pool.volume
    if now and now.hidden:
        group = pool.settings["VOLUME"].partition("/")[0]
        raise give_back.refused_hidden(pool.name, pool.settings, *visibility.hiding(now.hides, now.hidden, group))
    unreached = [loss for loss in missing.losses(have, pool.name) if loss.what in ("volume", "mount")]
    if unreached or not (recorded or have.pool.data or have.pool.meta):
        return []
    deeds, used = [], 0
    for path, part, key in ((pool.data, have.pool.data, "DATA_INO"), (pool.meta, have.pool.meta, "META_INO")):
        if part:
            _refuse_other(have, pool, path, part, key)
            deeds.append(gate.remove_file("", path, f"{part.device}:{part.inode}"))
            used += part.allocated
    # The metadata that a repair kept, and what an interrupted one or pool.loop left.
    others = " ".join(f"{words(path)}{end}" for path, end in (
        (pool.data, ".new"), (pool.meta, ".new"), (pool.meta, ".candidate"), (pool.meta, ".[0-9]*Z"),
    ))  # fmt: skip
    why = f"remove {pool.data} and {pool.meta}, {sizes.human(used)}"
    return [gate.joined(why, [*deeds, Command("", f"rm -f {others}")])]


def _refuse_other(have: Facts, pool: Going, path: str, file: Backing, key: str) -> None:
    """Refuse to remove a file that is not the recorded one.

    Raises:
        Refused: with both inodes.
    """
    recorded = pool.settings.get(key)
    up = have.pool.table is not None and bool(file.loops)
    if recorded and recorded != str(file.inode) and not up:
        raise Refused(
            f"{path} is not the file that the pool {pool.name} was made with",
            f"its inode is {file.inode}, recorded is {recorded}; it is not touched",
            hint="move it away and run it again; or, if it was brought back, start the pool with it: "
            + rerun.command(pool.name, pool.settings),
        )


def _direct(have: Facts, pool: Going) -> list[Change]:
    return give_back.plan(have, pool.name, pool.settings, force=pool.force)


def _state(pool: Going) -> Command:
    """What containerd knows of the pool, and what we do."""
    daemon = pool.daemon
    what = f"remove all images, containers and snapshots of {daemon}" if pool.uses else f"remove records of {pool.name}"
    return Command(what, render("pool/state.sh.j2", pool=pool, records=RECORDS))


def _own(have: Facts, pool: Going, *, recorded: bool) -> list[Change]:
    # As long as there are settings all of it is removed, again: no look shows that an interrupted run left empty
    # directories, and the script that takes the pool down may just have been written.
    paths = (*pool.own, *([pool.profile] if pool.direct else []))
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


def _forget(pool: Going) -> str:
    directory = pool.query().dir
    # Any other was there before.
    said = pool.settings.get("DIR_MADE", "")
    made = said == "yes" if said else within(directory, pool.daemon)
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
