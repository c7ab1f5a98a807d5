"""What a test may leave behind on this machine: nothing."""

from __future__ import annotations

import re
from pathlib import Path

PROCESSES = re.compile(r"qemu-system|\S*/docker-registry\0|\S*podman|\S*conmon|\S*/containerd|\S*sshd")
"""Programs that tests start."""


def state() -> dict[str, frozenset[str]]:
    """Loop devices, device-mapper devices, mounts and processes of this machine, as far as tests could make them."""
    return {
        "loops": frozenset(str(path.parent) for path in Path("/sys/block").glob("loop*/loop")),
        "dm devices": frozenset(path.name for path in Path("/sys/block").glob("dm-*")),
        "mounts": frozenset(line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()),
        "processes": frozenset(_processes()),
    }


def _processes() -> list[str]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if PROCESSES.match(command):
            found.append(command.replace("\0", " "))  # not its id: a machine that was started again is the same one
    return found


def left(before: dict[str, frozenset[str]]) -> list[str]:
    """What is there now and was not before."""
    return [f"{kind}: {thing}" for kind, now in state().items() for thing in sorted(now - before[kind])]
