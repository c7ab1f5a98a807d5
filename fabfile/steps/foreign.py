"""A containerd that was not installed by us: its programs, unit, configuration and pool, reported all at once."""

from __future__ import annotations

import msgspec

from fabfile import hints
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.instance import OURS, Daemon
from fabfile.pool.maintain import adopt
from fabfile.shell import words
from fabfile.steps import settings

PROGRAMS = ("containerd", "containerd-shim", "containerd-shim-runc-v1", "containerd-shim-runc-v2", "ctr", "runc")
"""Names of programs that a deploy links; `containerd-stress` belongs to them."""

ASIDE = "/var/lib/containerd-devmapper/before"
"""Directory to which the hint moves what is in the way."""

REMOVE = {"debian": "apt-get remove", "redhat": "dnf remove"}


class Foreign(msgspec.Struct, frozen=True):
    """What was found."""

    lines: list[str]
    hint: str


def found(have: Facts, daemon: Daemon, version: str = "") -> Foreign | None:
    """Find what is in the way of a deploy, and the commands that make room for it, in order.

    Args:
        have: facts of the machine.
        daemon: the containerd to be deployed.
        version: version of the containerd to be installed, if known.

    Returns:
        None if nothing is in the way.
    """
    package, programs, unit = have.containerd.foreign, _programs(have), _unit(have, daemon)
    if not (package or unit or any(path.rpartition("/")[2] in PROGRAMS for path in programs)):
        return None
    config = _config(have, daemon, version)
    lines = []
    if package:
        whose = f"of {have.containerd.package}" if have.containerd.package else "of no package"
        lines.append(f"{package}, {whose}: two containerds on one root directory destroy each other's state")
    if programs:
        lines.append(f"programs: {', '.join(programs)}")
    if unit:
        lines.append(f"unit: {unit}")
    pool, root, _ = adopt.used(have, daemon)
    theirs = bool(pool) and pool not in have.instances.pools
    if theirs:
        up = "which is up" if pool in have.instances.active else "which is not up"
        on = f", on {have.instances.backing[pool]}" if pool in have.instances.backing else ""
        lines.append(
            f"configuration: {daemon.config_path} names the pool {pool}, {up}{on}; its databases are in {root}"
        )
    steps = []
    if theirs:
        keep = hints.command(adopt.TASK, daemon, pool)
        steps.append(f"to keep what is on the pool: {keep}, and add what it prints to the inventory")
    if have.containerd.active or unit:
        steps.append(hints.on_host(words("systemctl", "stop", daemon.unit)))
    if package and have.containerd.package:
        remove = f"{REMOVE.get(have.system.family, 'remove')} {words(have.containerd.package)}"
        steps.append(hints.on_host(remove))
        package = ""
    aside = [*programs, *filter(None, [package, unit, config])]
    if aside:
        steps.append(hints.on_host(f"{words('mkdir', '-p', ASIDE)} && {words('mv', *aside, ASIDE)}"))
    return Foreign(lines, "\n".join([*steps, hints.command("deploy", daemon)]))


def _programs(have: Facts) -> list[str]:
    """Programs in the place of our links."""
    links = have.versions["containerd"].links
    return [
        path
        for path, goal in sorted(links.items())
        if not goal and path.rpartition("/")[2] in (*PROGRAMS, "containerd-stress")
    ]


def _unit(have: Facts, daemon: Daemon) -> str:
    """Path of a unit that ours would overwrite; empty if there is none."""
    now = have.files.get(daemon.unit_path)
    return daemon.unit_path if now and not now.content.startswith(OURS) else ""


def _config(have: Facts, daemon: Daemon, version: str) -> str:
    """Path of a configuration in a format that we do not write for this version; empty if there is none."""
    now = have.files.get(daemon.config_path)
    if not now or not version:
        return ""
    other = settings.other_format(now.content, settings.config_format(version, now.content))
    return daemon.config_path if other and not settings.is_ours(now.content, daemon) else ""


def refuse(have: Facts, daemon: Daemon, version: str = "") -> None:
    """Refuse a machine with a containerd from somewhere else, before anything is changed.

    Raises:
        Refused: with everything that was found, and the commands that make room, in order.
    """
    what = found(have, daemon, version)
    if what:
        raise Refused(
            "the host has a containerd that this tool did not install",
            "\n".join(what.lines),
            hint=f"in this order:\n{what.hint}",
        )
