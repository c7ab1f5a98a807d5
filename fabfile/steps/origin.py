"""The settings of a host, and where each value comes from."""

from __future__ import annotations

from typing import Any

import msgspec

from fabfile import inventory, selection
from fabfile.host import Host, Pool
from fabfile.inventory_tables import BUILT_IN
from fabfile.option import options
from fabfile.output.answer import show
from fabfile.output.outcome import result
from fabfile.remote.context import Context

ADDRESS = ("address", "port", "user")
"""Keys that the command line or ~/.ssh/config may set."""

LIMIT = "connect_timeout"
"""Key that -t overrides."""


class Setting(msgspec.Struct, frozen=True):
    """A setting of a host."""

    key: str
    value: Any
    source: str


def settings(host: Host, known: inventory.Inventory) -> list[Setting]:
    """List every setting of a host with its value and source.

    Args:
        host: the host, as it is connected to.
        known: the inventory.
    """
    name = selection.listed(known.hosts, host.name)
    origins, own = known.origins.get(name, {}), known.hosts.get(name, known.defaults)
    typed, used = selection.typed(known.hosts, host.name), inventory.on_instance(host)
    found = []
    for kind, before in ((Host, ""), (Pool, "pool.")):
        asked, given = (host, used) if kind is Host else (host.pool, used.pool)
        for name in options(kind):
            key, value = f"{before}{name}", getattr(given, name)
            source = origins.get(key, BUILT_IN)
            if getattr(asked, name) != value:
                source = f"instance {used.instance}"
            elif name in ADDRESS and kind is Host and host.name:
                source = "command line" if name in typed else _address(host, own, name, source)
            elif name == LIMIT and value != own.connect_timeout:
                source = "command line"
            found.append(Setting(key, list(value) if isinstance(value, tuple) else value, source))
    return found


def _address(host: Host, own: Host, name: str, source: str) -> str:
    if getattr(own, name) != getattr(host, name):
        return "~/.ssh/config"
    return "name of the host" if name == "address" and source == BUILT_IN else source


def show_settings(c: Context) -> None:
    """Print every setting of the host of `c`, without connecting to it."""
    host = getattr(c, "host_entry", None)
    known = inventory.load()
    found = settings(host if isinstance(host, Host) else known.defaults, known)
    result(found)
    texts = [each.value if isinstance(each.value, list) else [str(each.value)] for each in found]
    values = [", ".join(text) or "-" for text in texts]
    wide, width = max(len(each.key) for each in found), min(max(map(len, values)), 50)
    for each, value in zip(found, values, strict=True):
        show(f"{each.key:{wide}}  {value:{width}}  {each.source}")
