"""Enable and start systemd units, with as few reloads of systemd as possible.

A reload runs every generator and reads every unit again, which takes longer than creating a pool on a slow machine. It
is needed for a unit that changed; for a new one, systemd itself is asked right before the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fabfile import hints
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.containerd import KEEPING
from fabfile.facts.prelude import WAIT
from fabfile.instance import Daemon
from fabfile.plan import Change, File
from fabfile.shell import words

UNITS = "/etc/systemd/system/"


def start(changes: Sequence[Change], *units: str, restart: bool = False, otherwise: str = "") -> str:
    """Return the script that enables and starts units.

    Args:
        changes: changes made before, among them units and drop-ins.
        units: names of the units.
        restart: restart the first one, which counts as active but is not.
        otherwise: hint for the case that they do not start.
    """
    names, first = words(*units), words(units[0])
    # A restart waits for its own unit, and units that this one pulls in start somewhat later: facts gathered at once
    # would show them as inactive. So each is started by name as well, which waits for it.
    doing = [f"restart {first}"] if restart else []
    if not restart or len(units) > 1:
        doing.append(f"start {names}")
    # systemd 252 does not notice a drop-in whose directory is new, although it rereads units for other ones.
    stale = any(file.before is not None or ".d/" in file.path for file in unit_files(changes))
    ask = f"case $(systemctl show -p NeedDaemonReload {names}) in *=yes*) systemctl daemon-reload ;; esac"
    hint = f"{words('echo', f'hint: {otherwise}')}; " if otherwise else ""
    see = words("echo", f"hint: meet or remove that condition: systemctl cat {names}; then run it again")
    return "\n".join(
        [
            # Facts look at the links in the file system, not at systemd's memory of them.
            f"systemctl -q --no-reload enable {names}",
            f"sync {UNITS} {UNITS}*.wants",
            # systemd 257 needs a reload also for a unit that it looked for before the unit existed.
            "systemctl daemon-reload" if stale else ask,
            f"{{ {' && '.join(f'systemctl {verb}' for verb in doing)}; }} ||",
            f"  {{ systemctl status --no-pager -n 20 {names}; {hint}exit 1; }}",
            # systemd skips the start of a unit whose condition is not met, and counts that as a success.
            f"case $(systemctl show -p ConditionResult -p Result {names}) in *=no* | *=exec-condition*)",
            "  echo 'systemd skipped the start: a condition is not met'",
            f"  systemctl status --no-pager -n 0 {names} || true; {see}; exit 1 ;;",
            "esac",
        ]
    )


def unit_files(changes: Iterable[Change]) -> list[File]:
    """Return those changes that write a unit or a drop-in."""
    return [change for change in changes if isinstance(change, File) and change.path.startswith(UNITS)]


def unread(have: Facts, *units: str) -> bool:
    """Return whether systemd has one of the units in memory without its file, so that it needs a reload."""
    found = map(have.units.of, units)
    return any(unit.load == "error" or (unit.load == "not-found" and unit.active == "active") for unit in found)


def refuse_changing(unit: str, changing: str) -> None:
    """Refuse to interfere with a unit that is still starting or stopping.

    Args:
        unit: name of the unit.
        changing: its state after a wait; empty if it has come to rest.

    Raises:
        Refused: it has not come to rest. Restarting a pool's unit now would interrupt a check of its metadata.
    """
    if changing:
        raise Refused(
            f"{unit} is still {changing}",
            f"systemd has not finished after {WAIT} s",
            hint=f"see what it waits for: systemctl status {unit}; systemctl list-jobs; then run it again",
        )


def killing(have: Facts, *, reloaded: bool = False) -> str:
    """Return why a stop of containerd kills its containers, against what its unit says; empty: it does not.

    Args:
        have: facts of the machine.
        reloaded: systemd reads our unit and all drop-ins first.
    """
    line, mode = have.containerd.kill_line, have.containerd.kill_mode
    if line and line.mode not in KEEPING and (reloaded or have.containerd.stale or line.mode == mode):
        return f"{line.path}:{line.line}: KillMode={line.mode}"
    return "" if reloaded or mode in KEEPING else f"systemd has loaded KillMode={mode}"


def keep_containers(have: Facts, daemon: Daemon) -> str:
    """Return the hint for a KillMode that kills containers."""
    line = have.containerd.kill_line
    if line and line.mode not in KEEPING:
        return f"remove that line from {line.path}; then {hints.on_host('systemctl daemon-reload')}"
    return (
        hints.on_host("systemctl daemon-reload")
        if have.containerd.stale
        else hints.command("containerd.configure", daemon)
    )


def refuse_killing(have: Facts, daemon: Daemon, *, reloaded: bool = False) -> None:
    """Refuse to stop or restart containerd where that kills running containers.

    Args:
        have: facts of the machine.
        daemon: the containerd.
        reloaded: see `killing`.

    Raises:
        Refused: with the line that makes it so, and the containers.
    """
    why = killing(have, reloaded=reloaded)
    if why and have.containerd.containers:
        raise Refused(
            f"a stop of {daemon.unit} would kill its containers",
            "\n".join([why, *have.containerd.containers]),
            hint=f"{keep_containers(have, daemon)}; or stop the containers, then run it again",
        )


def run(unit: str) -> str:
    """Return the script that runs a unit which ends by itself, and fails with its status if it fails."""
    return f"systemctl start {words(unit)} || {{ systemctl status --no-pager -n 20 {words(unit)}; exit 1; }}"


def refuse_masked(have: Facts, *units: str) -> None:
    """Refuse to start a masked unit; writing it again would silently unmask it.

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
