"""inventory.export: the hosts, groups and connection settings of hosts.toml, for other tools."""

from __future__ import annotations

import msgspec

from fabfile import inventory, selection
from fabfile.console import say
from fabfile.output.answer import show
from fabfile.output.outcome import result


class Exported(msgspec.Struct, frozen=True):
    """The inventory in the format of another tool."""

    text: str
    """Content of the file that the tool reads."""


def export_inventory(format: str) -> None:
    """Print the inventory.

    Args:
        format: `ansible` or `ssh-config`.

    Raises:
        Refused: there are no hosts, or the format cannot represent a name or value.
    """
    from fabfile.exchange import ansible_export, ssh_config  # slow to import, which `inv --list` should not wait for

    known = inventory.load()
    known.resolve([selection.ALL])
    text = ansible_export.text(known) if format == "ansible" else ssh_config.text(known)
    result(Exported(text))
    show(text)
    for note in ansible_export.notes(known) if format == "ansible" else ():
        say(f"note: {note}", error=True)
