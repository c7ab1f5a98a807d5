"""inventory.export: the hosts, groups and connection settings of hosts.toml, for other tools."""

from __future__ import annotations

import msgspec

from fabfile import inventory, selection
from fabfile.answer import show
from fabfile.console import say
from fabfile.outcome import result


class Exported(msgspec.Struct, frozen=True):
    """An inventory, for another tool."""

    text: str
    """What the tool reads."""


def export_inventory(format: str) -> None:
    """Print the inventory.

    Args:
        format: `ansible` or `ssh-config`.

    Raises:
        Refused: there are no hosts, or something that the format has no way to write.
    """
    from fabfile.exchange import ansible_export, ssh_config  # `inv --list` is not to wait for them

    known = inventory.load()
    known.resolve([selection.ALL])
    text = ansible_export.text(known) if format == "ansible" else ssh_config.text(known)
    result(Exported(text))
    show(text)
    for note in ansible_export.notes(known) if format == "ansible" else ():
        say(f"note: {note}", error=True)
