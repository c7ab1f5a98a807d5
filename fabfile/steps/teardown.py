"""Removal of what deploy installed besides pools: programs, containerd's state and its configuration.

containerd's unit goes last: while it exists, an interrupted run knows that what containerd stored is ours.
"""

from __future__ import annotations

import re

from fabfile.facts import Facts
from fabfile.facts.query import Query
from fabfile.instance import Daemon
from fabfile.plan import Change, Command, Step, file
from fabfile.pool import ownership
from fabfile.pool.maintain.actions import BACKUPS
from fabfile.pool.remove import RECORDS, SHARED, Part, emptied, libexec
from fabfile.render import render
from fabfile.shell import words
from fabfile.steps import settings, smoke, toolchain

KEY = re.compile(r".+-[0-9a-f]{12}")
"""Directories below /opt/NAME that are ours: a version and a digest."""


def part(daemon: Daemon, *, force: bool) -> Part:
    """The part that removes everything else.

    Args:
        daemon: the default containerd; other instances are removed with their pools.
        force: kill running containers.
    """
    drop_ins = (daemon.drop_in_path, daemon.mke2fs_path)
    configs = tuple(daemon.config_path + suffix for suffix in ("", ".bak", settings.ORIGINAL))
    paths = (*configs, daemon.unit_path, *drop_ins, toolchain.PROFILE, *SHARED)
    idle = render("containerd/containers.sh.j2", daemon=daemon) + "running\n"
    query = Query(bin_dir=daemon.bin_dir, files=paths)
    return Part(Step("everything else", lambda have: plan(have, daemon, force=force), query), idle)


def plan(have: Facts, daemon: Daemon, *, force: bool) -> list[Change]:
    """Plan the removal."""
    ours = ownership.installed(have, daemon)
    return [
        *([_daemon(daemon, force=force)] if ours else []),
        *_config(have, daemon),
        *_programs(have),
        *_files(have, daemon, ours=ours),
    ]


def _daemon(daemon: Daemon, *, force: bool) -> Command:
    """Stop it, and remove everything that it stored."""
    stop = render("containerd/remove.sh.j2", daemon=daemon, force=force)
    script = "\n".join([stop.rstrip(), *emptied(daemon.root)])
    what = f"stop {daemon.unit} and remove all that it keeps below {daemon.root}"
    return Command(what, script, render("containerd/containers.sh.j2", daemon=daemon))


def _config(have: Facts, daemon: Daemon) -> list[Change]:
    now = have.files.get(daemon.config_path)
    if now is None:
        return []
    text = settings.cleared(now.content)
    config = daemon.config_path
    if text is not None:
        return file(have, "remove the keys that deploy added to the configuration", config, text, mode=now.mode)
    remove, original = words("rm", "-f", config, f"{config}.bak"), f"{config}{settings.ORIGINAL}"
    if original in have.files:
        return [Command(f"restore the original {config}", f"{remove}\n{words('mv', original, config)}")]
    return [Command(f"remove {config}", "\n".join([remove, *emptied(config.rpartition("/")[0])]))]


def _programs(have: Facts) -> list[Change]:
    plan: list[Change] = []
    for name, now in have.versions.items():
        ours = sorted(key for key in now.installed if KEY.fullmatch(key))
        links = sorted(path for path, goal in now.links.items() if goal.startswith(f"/opt/{name}/"))
        if not (ours or links or now.current):
            continue
        directory = f"/opt/{name}"
        script = [
            # Links first, so that no command leads to a program that is gone.
            words("rm", "-f", *links, f"{directory}/current"),
            f"rm -rf {directory}/.new-* {words(*(f'{directory}/{key}' for key in ours))}",
            # containerd creates these for programs that it could install.
            *emptied(*(f"{directory}/{made}" for made in ("bin", "lib")), directory),
        ]
        plan.append(Command(f"remove {name} {' '.join(ours)}", "\n".join(script)))
    return plan


def _files(have: Facts, daemon: Daemon, *, ours: bool) -> list[Change]:
    there = [
        path for path in (daemon.drop_in_path, daemon.mke2fs_path, toolchain.PROFILE, *SHARED) if path in have.files
    ]
    if not (there or ours):
        return []
    script = [
        f"rm -f /etc/systemd/system/*.wants/{daemon.unit} {words(*there)}",
        # Only what we wrote: a hint of ours has the operator put aside there what was installed before.
        f"rm -rf {words(BACKUPS)} {words(RECORDS)}/smoke* /run/{smoke.DIRECTORY}.*",
        "find -H /var/tmp -maxdepth 1 -user root -type d -name 'containerd-devmapper.??????????' -exec rm -rf {} +",
        *emptied(RECORDS, f"{daemon.unit_path}.d", daemon.mke2fs_path.rpartition("/")[0], *libexec(have)),
        *([words("rm", "-f", daemon.unit_path)] if ours else []),
        "systemctl daemon-reload",
    ]
    return [Command("remove containerd's unit and what else was written", "\n".join(script))]
