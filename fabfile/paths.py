"""Paths on the controller."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def _base(variable: str) -> Path | None:
    """Return the directory that a variable names. XDG's specification has relative paths ignored."""
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else None


def cache() -> Path:
    """Directory of downloads, builds and lab images, under digests. It may be deleted at any time."""
    return (_base("XDG_CACHE_HOME") or Path.home() / ".cache") / "containerd-devmapper"


def state() -> Path:
    """Directory of the records of runs. Safe to delete at any time."""
    return (_base("XDG_STATE_HOME") or Path.home() / ".local/state") / "containerd-devmapper"


def sockets() -> Path:
    """Directory of the sockets of connections that are kept between runs. Safe to delete at any time."""
    base = _base("XDG_RUNTIME_DIR")
    return base / "containerd-devmapper" if base else cache() / "ssh"


def lab() -> Path:
    """Directory of the running lab, LAB_DIR: inventory, keys, overlays, process ids."""
    # Path.resolve() raises an error for circular links.
    return Path(os.path.realpath(os.environ.get("LAB_DIR") or REPOSITORY / ".lab"))


def inventory() -> Path:
    """Path of hosts.toml, HOSTS_FILE."""
    return Path(os.environ.get("HOSTS_FILE") or REPOSITORY / "hosts.toml")
