"""What keeps a unit from running, and the shell that starts it."""

from __future__ import annotations

import shlex

from fabfile import hints
from fabfile.facts.units import Unit
from fabfile.pool.health.finding import since


def trouble(unit: Unit) -> str:
    """Return the state of a unit that is not well, with its last log line; empty if it is well."""
    if unit.load == "masked":
        return "its unit is masked"
    if unit.load == "error":
        return "systemd cannot read its unit, and starts neither it nor its containerd"
    if unit.active == "failed":
        return f"its unit failed ({unit.result})" + (f": {unit.last}" if unit.last else "")
    if unit.active == "activating":
        return f"its unit has been starting for {since(unit.started or 0)}"
    return skips(unit)


def skips(unit: Unit) -> str:
    """Return that systemd skips the start of a unit that does not run, with the unmet conditions; empty otherwise."""
    return f"systemd skips its start: {unit.skipped}" if unit.skipped and unit.active == "inactive" else ""


def met(start: str = "") -> str:
    """Return the hint for a unit whose start systemd skips because of a condition; `start` is run afterwards."""
    reload = "systemctl daemon-reload"
    return f"remove or meet that condition; then {hints.on_host(f'{reload} && {start}' if start else reload)}"


def unmask(*units: str) -> str:
    """Return the command that unmasks units."""
    return shlex.join(["systemctl", "unmask", *units])
