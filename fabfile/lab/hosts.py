"""The lab's inventory, and the pinned host keys of its machines."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fabfile.console import say
from fabfile.lab import files, vm
from fabfile.lab.vm import Vm

FILE = "hosts.toml"


def write(lab: Path, machines: Sequence[Vm], **settings: str) -> None:
    """Write both files for the existing machines.

    Args:
        lab: the lab's directory.
        machines: all of its machines.
        settings: settings for the inventory's defaults; those of an earlier inventory are kept.
    """
    import tomlkit

    inventory, keys = lab / FILE, lab / vm.KNOWN_HOSTS
    defaults = {"user": "root", "identity_file": str(lab / vm.KEY), "known_hosts": str(keys), "release": "lab"}
    hosts = {machine.name: {"address": "127.0.0.1", "port": machine.port} for machine in machines}
    files.write(keys, "".join(line for machine in machines for line in machine.known_hosts()))
    # Not the package toml, which escapes some backslashes wrongly.
    files.write(inventory, tomlkit.dumps({"defaults": {**_earlier(inventory), **defaults, **settings}, "hosts": hosts}))


def _earlier(inventory: Path) -> dict[str, Any]:
    if not inventory.exists():
        return {}
    try:
        return dict(tomllib.loads(inventory.read_text())["defaults"])
    except (ValueError, KeyError, TypeError) as error:  # somebody edited it; a machine must still be removable
        say(f"{inventory} cannot be read and is written again: {error!r}")
        return {}
