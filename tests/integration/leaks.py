"""What a test may leave behind on this machine: nothing."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

MARK = f"CONTAINERD_DEVMAPPER_TESTS={uuid.uuid4().hex}"
"""Variable in the environment of every process of this session."""

os.environ.update(dict([MARK.split("=")]))


PODMAN = "/var/lib/containers/storage/overlay"
"""Podman keeps its storage mounted over itself after it was first used."""


def state(*, devices: bool) -> dict[str, frozenset[str]]:
    """Return the processes of this session; with `devices` also loop and device-mapper devices and mounts."""
    processes = {"processes": frozenset(marked(MARK))}
    if not devices:
        return processes
    return processes | {
        "loops": frozenset(str(path.parent) for path in Path("/sys/block").glob("loop*/loop")),
        "dm devices": frozenset(path.name for path in Path("/sys/block").glob("dm-*")),
        "mounts": frozenset(line.split()[1] for line in Path("/proc/self/mounts").open()) - {PODMAN},
    }


def marked(variable: str) -> Iterator[str]:
    """Yield the command lines of all processes with a variable in their environment.

    Args:
        variable: NAME=VALUE.
    """
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (directory / "environ").read_bytes().split(b"\0"):
                # Not its id: a machine that was restarted is the same one.
                yield (directory / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended meanwhile, or is not one that we could have started


def left(before: dict[str, frozenset[str]]) -> list[str]:
    """List what exists now and did not exist before."""
    now = state(devices="loops" in before)
    return [f"{kind}: {thing}" for kind in now for thing in sorted(now[kind] - before[kind])]
