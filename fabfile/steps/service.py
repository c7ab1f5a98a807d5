"""systemd's units: enabled and started with as few reloads of the manager as the truth allows.

A reload runs every generator and reads every unit again: on a slow machine that takes longer than making a pool. A
unit that was not loaded is read when it is started; only one that changed under a loaded manager needs a reload.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabfile.plan import Change, File, words

UNITS = "/etc/systemd/system/"


def start(changes: Sequence[Change], stale: bool, *units: str, restart: bool = False) -> str:
    """The script that enables `units`, now and at every boot.

    Args:
        changes: what is written before; a unit that was there already may be loaded, and so may the unit of a drop-in.
        stale: whether systemd has older versions of the units than there were on disk.
        units: what to enable and start.
        restart: restart the first and leave the others to it, for a unit that counts as started but is not.
    """
    names, first = words(*units), words(units[0])
    written = [c for c in changes if isinstance(c, File) and c.path.startswith(UNITS)]
    stale = stale or any(file.before is not None or ".d/" in file.path for file in written)
    return "\n".join(
        [
            # The links are what counts; facts look at them, not at what the manager remembers.
            f"systemctl -q --no-reload enable {names}",
            *(["systemctl daemon-reload"] if stale else []),
            f"systemctl {f'restart {first}' if restart else f'start {names}'} ||",
            f"  {{ systemctl status --no-pager -n 20 {names}; exit 1; }}",
        ]
    )
