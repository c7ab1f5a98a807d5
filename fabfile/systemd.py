"""systemd's units: enabled and started with as few reloads of the manager as the truth allows.

A reload runs every generator and reads every unit again: on a slow machine that takes longer than making a pool. It is
needed for a unit that changed under systemd; of one that is new, systemd itself is asked right before the start.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabfile.errors import Refused
from fabfile.facts import WAIT, Facts
from fabfile.plan import Change, File, words

UNITS = "/etc/systemd/system/"


def start(changes: Sequence[Change], *units: str, restart: bool = False, otherwise: str = "") -> str:
    """The script that enables `units`, now and at every boot.

    Args:
        changes: what is written before, other units and drop-ins among it.
        units: what to enable and start.
        restart: restart the first, for a unit that counts as started but is not.
        otherwise: what to do where it does not start.
    """
    names, first = words(*units), words(units[0])
    # A restart waits for its own unit. One that the unit pulls in is started after it, and somewhat later: whoever
    # looks at once sees it down. So each is started by its name, which waits for it.
    doing = [f"restart {first}"] * restart + [f"start {names}"] * (not restart or len(units) > 1)
    written = [c for c in changes if isinstance(c, File) and c.path.startswith(UNITS)]
    # A drop-in whose directory is new is not noticed by systemd 252, though it is what a unit is read from again.
    stale = any(file.before is not None or ".d/" in file.path for file in written)
    ask = f"case $(systemctl show -p NeedDaemonReload {names}) in *=yes*) systemctl daemon-reload ;; esac"
    hint = f"{words('echo', f'hint: {otherwise}')}; " if otherwise else ""
    return "\n".join(
        [
            # The links are what counts; facts look at them, not at what the manager remembers.
            f"systemctl -q --no-reload enable {names}",
            f"sync {UNITS} {UNITS}*.wants",
            # In systemd 257 a unit that was looked for before it was there needs a reload, too.
            "systemctl daemon-reload" if stale else ask,
            f"{{ {' && '.join(f'systemctl {verb}' for verb in doing)}; }} ||",
            f"  {{ systemctl status --no-pager -n 20 {names}; {hint}exit 1; }}",
        ]
    )


def unread(have: Facts, *units: str) -> bool:
    """Whether systemd has one of the units in memory without its file: a new file is not read by itself then."""
    found = map(have.units.of, units)
    return any(unit.load == "error" or (unit.load == "not-found" and unit.active == "active") for unit in found)


def refuse_changing(unit: str, changing: str) -> None:
    """Refuse to interfere with a unit that is still starting or stopping.

    Args:
        unit: its name.
        changing: what systemd said of it after a wait; empty where it has come to rest.

    Raises:
        Refused: it has not. To restart a pool's unit now would end a check of its metadata half-way.
    """
    if changing:
        raise Refused(
            f"{unit} is still {changing}",
            f"systemd has not finished after {WAIT} s",
            hint=f"see what it waits for: systemctl status {unit}; systemctl list-jobs; then run it again",
        )


def run(unit: str) -> str:
    """The script that runs a unit that comes to its end by itself, and fails with what it says where it does not."""
    return f"systemctl start {words(unit)} || {{ systemctl status --no-pager -n 20 {words(unit)}; exit 1; }}"


def refuse_masked(have: Facts, *units: str) -> None:
    """Refuse to start what somebody masked; writing its unit again would unmask it silently.

    Raises:
        Refused: with the command that unmasks it.
    """
    masked = [unit for unit in units if have.units.of(unit).load == "masked"]
    if masked:
        raise Refused(
            f"{' and '.join(masked)} is masked",
            "a masked unit never starts, and tasks do not unmask it",
            hint=words("systemctl", "unmask", *masked),
        )
