"""systemd's units: enabled and started with as few reloads of the manager as the truth allows.

A reload runs every generator and reads every unit again: on a slow machine that takes longer than making a pool. A
unit that was not loaded is read when it is started; only one that changed under a loaded manager needs a reload.
"""

from __future__ import annotations

from fabfile.plan import words


def start(*units: str, restart: bool = False) -> str:
    """The script that enables `units`, now and at every boot.

    Args:
        units: what to enable and start.
        restart: restart the first and leave the others to it, for a unit that counts as started but is not.
    """
    names, first = words(*units), words(units[0])
    return (
        # The links are what counts; facts look at them, not at what the manager remembers.
        f"systemctl -q --no-reload enable {names}\n"
        f"case $(systemctl show --value -p NeedDaemonReload {names}) in *yes*) systemctl daemon-reload ;; esac\n"
        f"systemctl {f'restart {first}' if restart else f'start {names}'} ||\n"
        f"  {{ systemctl status --no-pager -n 20 {names}; exit 1; }}"
    )
