"""The interface of a kind of machine."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from signal import Signals
from typing import Protocol

from fabfile.lab import tools
from fabfile.lab.image import Image
from fabfile.lab.vm import Vm


class Unfit(Exception):
    """This computer cannot run machines of a kind.

    Args:
        kind: its name.
        why: the reason, for a person.
        packages: Debian packages that would help.
    """

    def __init__(self, kind: str, why: str, packages: tuple[str, ...] = ()) -> None:
        super().__init__(f"{kind}: {why}")
        self.kind, self.why, self.packages = kind, why, packages


class Kind(Protocol):
    """What differs between the ways to run a machine."""

    name: str
    what: str
    """For a person: `User-mode Linux`."""
    most_disks: int
    """How many further disks a machine can have."""
    end: Signals
    """What ends its process as a power cut would."""

    def image(self, suite: str) -> Image:
        """Build the suite's image for this kind, or find it in the cache, once it is known that it boots here.

        Raises:
            Unfit: this computer cannot run such machines.
        """

    def make_disks(self, vm: Vm, image: Image) -> None:
        """Make the files of a new machine's disks in its directory."""

    def disk(self, number: int) -> str:
        """The machine's name of a disk: 0 is the root disk, 1 the empty one of 20G, 2 and on the further ones."""

    def root_overlay(self, vm: Vm) -> str:
        """The name of the file in a machine's directory that holds what was written to its root disk."""

    def start(self, vm: Vm, image: Image) -> None:
        """Start the machine, record its process in `vm.process`, and return at once.

        Raises:
            Failed: it did not start; with what the program printed.
        """


def require(kind: str, programs: Mapping[str, str]) -> None:
    """Check that this computer has what a kind needs.

    Args:
        kind: its name.
        programs: program → the Debian package that has it.

    Raises:
        Unfit: another architecture, or a program is missing.
    """
    if platform.machine() != "x86_64":
        raise Unfit(kind, f"it runs x86_64 machines, and this computer is {platform.machine()}")
    missing = [program for program in programs if not tools.which(program)]
    if missing:
        raise Unfit(kind, f"missing: {', '.join(missing)}", tuple(sorted({programs[each] for each in missing})))


def letter(number: int, most: int = 26) -> str:
    """The letter of a disk in the kernel's names; the seed disk comes third.

    Args:
        number: see `Kind.disk`.
        most: disks that the kind can have.

    Raises:
        ValueError: there is no such disk.
    """
    place = number if number < 2 else number + 1
    if not 0 <= place < most:
        raise ValueError(f"disk {number}")
    return "abcdefghijklmnopqrstuvwxyz"[place]
