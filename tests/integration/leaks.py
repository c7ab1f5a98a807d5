"""What tests may leave behind on this machine: nothing."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from fabfile import paths
from fabfile.lab import directory, process, vm

MARK = f"CONTAINERD_DEVMAPPER_TESTS={uuid.uuid4().hex}"
"""Variable in the environment of every process of this session."""

os.environ.update(dict([MARK.split("=")]))


PODMAN = "/var/lib/containers/storage/overlay"
"""Podman keeps its storage mounted over itself after it was first used."""

LIMIT = 10
"""Seconds for what has been told to end to have ended, on two busy cores."""

kept: set[Path] = set()
"""Directories of machines that run on purpose: --keep."""

State = dict[str, dict[str, str]]
"""What there is of each kind: what identifies it → its description."""


def state(*, devices: bool) -> State:
    """Return the processes of this session; with `devices` also loop and device-mapper devices and mounts."""
    processes: State = {"processes": dict(_processes())}
    if not devices:
        return processes
    others = {
        "loops": {str(path.parent) for path in Path("/sys/block").glob("loop*/loop")},
        "dm devices": {path.name for path in Path("/sys/block").glob("dm-*")},
        "mounts": {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()} - {PODMAN},
    }
    return processes | {kind: {name: name for name in names} for kind, names in others.items()}


def _processes() -> Iterator[tuple[str, str]]:
    """Yield what identifies each process of this session, and its command line.

    That is its id and start time. Those of a machine are known by the machine, which a test may restart. The lab's
    registry is not among them: all tests share it, and whichever needs it starts it again.
    """
    lab = paths.lab()
    recorded = {process.read(file): file.parent for file in lab.glob(f"*/{vm.PROCESS}")}
    for each in marked(MARK):
        try:
            fields = (each / "stat").read_text().rpartition(")")[2].split()
            words = (each / "cmdline").read_text(errors="replace").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        parent, started = fields[1], fields[19]  # see proc(5)
        place = recorded.get(int(each.name), recorded.get(int(parent)))
        if place is None:
            yield f"{each.name} {started}", f"{words}(process {each.name})"
        elif place != lab / directory.REGISTRY and place not in kept:
            yield str(place), f"{words}(process {each.name}, of {place})"


def marked(variable: str) -> Iterator[Path]:
    """Yield the directories in /proc of all processes with a variable in their environment.

    Args:
        variable: NAME=VALUE.
    """
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (each / "environ").read_bytes().split(b"\0"):
                yield each
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended meanwhile, or is not one that we could have started


@contextmanager
def none(*, devices: bool) -> Iterator[None]:
    """Check at the end that nothing exists that did not exist at the beginning; `devices` as for `state`."""
    before = state(devices=devices)
    yield
    gone(lambda: _new(before, devices))


def gone(look: Callable[[], list[str]]) -> None:
    """Check that what `look` finds is gone, or will be within `LIMIT`."""
    begin = monotonic()
    while (left := look()) and monotonic() - begin < LIMIT:
        sleep(0.05)
    assert not left, "\n".join(["left behind:", *left])


def _new(before: State, devices: bool) -> list[str]:
    now = state(devices=devices)
    return [f"{kind}: {now[kind][name]}" for kind in now for name in sorted(now[kind].keys() - before[kind].keys())]
