"""What deploy put on a machine besides pools, taken away again: the programs, containerd's state and configuration.

containerd's unit goes last: as long as it is there, an interrupted run knows that what containerd kept is ours.
"""

from __future__ import annotations

import re

from fabfile.facts import Facts, Query
from fabfile.instance import OURS, Daemon
from fabfile.plan import Change, Command, Step, file, words
from fabfile.pool.remove import RECORDS, SHARED, Part, emptied, libexec
from fabfile.render import render
from fabfile.steps import settings, smoke, toolchain

KEY = re.compile(r".+-[0-9a-f]{12}")
"""Names of directories below /opt/NAME that are ours: a version and a digest."""


def part(daemon: Daemon, *, force: bool) -> Part:
    """All of it; `daemon` is the default containerd: the others went with their pools."""
    drop_ins = (daemon.drop_in, daemon.mke2fs)
    configs = tuple(daemon.config + suffix for suffix in ("", ".bak", settings.ORIGINAL))
    paths = (*configs, daemon.unit_path, *drop_ins, toolchain.PROFILE, *SHARED)
    idle = render("containerd/containers.sh.j2", daemon=daemon) + "running\n"
    query = Query(bin_dir=daemon.bin_dir, files=paths)
    return Part(Step("everything else", lambda have: plan(have, daemon, force=force), query), idle)


def plan(have: Facts, daemon: Daemon, *, force: bool) -> list[Change]:
    """What to do, purely from the facts."""
    unit = have.files.get(daemon.unit_path)
    ours = unit is not None and unit.content.startswith(OURS)
    return [
        *([_daemon(daemon, force=force)] if ours else []),
        *_config(have, daemon),
        *_programs(have),
        *_files(have, daemon, ours=ours),
    ]


def _daemon(daemon: Daemon, *, force: bool) -> Command:
    """End it, and remove all that it kept."""
    script = render("containerd/remove.sh.j2", daemon=daemon, force=force)
    what = f"stop {daemon.unit} and remove all that it keeps below {daemon.root}"
    return Command(what, script, render("containerd/containers.sh.j2", daemon=daemon))


def _config(have: Facts, daemon: Daemon) -> list[Change]:
    now = have.files.get(daemon.config)
    if now is None:
        return []
    text = settings.cleared(now.content)
    if text is not None:
        return file(have, "our keys go from a configuration that was there before", daemon.config, text, mode=now.mode)
    remove, original = words("rm", "-f", daemon.config, f"{daemon.config}.bak"), f"{daemon.config}{settings.ORIGINAL}"
    if original in have.files:
        why = f"{daemon.config} is again what it was before ours"
        return [Command(why, f"{remove}\n{words('mv', original, daemon.config)}")]
    return [Command(f"remove {daemon.config}", "\n".join([remove, *emptied(daemon.config.rpartition("/")[0])]))]


def _programs(have: Facts) -> list[Change]:
    plan: list[Change] = []
    for name, now in have.versions.items():
        ours = sorted(key for key in now.installed if KEY.fullmatch(key))
        links = sorted(path for path, goal in now.links.items() if goal.startswith(f"/opt/{name}/"))
        if not (ours or links or now.current):
            continue
        directory = f"/opt/{name}"
        script = [
            # The links first: a command that is there works.
            words("rm", "-f", *links, f"{directory}/current"),
            f"rm -rf {directory}/.new-* {words(*(f'{directory}/{key}' for key in ours))}",
            # containerd makes these for programs that it could install.
            *emptied(*(f"{directory}/{made}" for made in ("bin", "lib")), directory),
        ]
        plan.append(Command(f"remove {name} {' '.join(ours)}", "\n".join(script)))
    return plan


def _files(have: Facts, daemon: Daemon, *, ours: bool) -> list[Change]:
    there = [path for path in (daemon.drop_in, daemon.mke2fs, toolchain.PROFILE, *SHARED) if path in have.files]
    if not (there or ours):
        return []
    script = [
        f"rm -f /etc/systemd/system/*.wants/{daemon.unit} {words(*there)}",
        f"rm -rf {words(RECORDS)} /var/tmp/.containerd-devmapper-* /run/{smoke.DIRECTORY}.*",
        *emptied(f"{daemon.unit_path}.d", daemon.mke2fs.rpartition("/")[0], *libexec(have)),
        *([words("rm", "-f", daemon.unit_path)] if ours else []),
        "systemctl daemon-reload",
    ]
    return [Command("remove containerd's unit and what else was written", "\n".join(script))]
