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
    end: Signals
    """What ends its process as a power cut would."""

    def image(self, suite: str) -> Image:
        """Build the suite's image for this kind, or find it in the cache, once it is known that it boots here.

        Raises:
            Unfit: this computer cannot run such machines.
        """

    def make_disks(self, vm: Vm, image: Image) -> None:
        """Make the files of a new machine's disks in its directory."""

    def disk(self, vm: Vm, number: int) -> str:
        """A machine's name of one of its disks.

        Args:
            vm: the machine.
            number: 0 is the root disk, 1 the empty one of 20G, 2 and on the further ones.

        Raises:
            IndexError: it has no such disk.
        """

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


def letters(place: int) -> str:
    """The letters of a disk in the kernel's names: `a` is the first, after `z` comes `aa`.

    Args:
        place: the disk's place among those with such names, from 0 on.
    """
    before, last = divmod(place, 26)
    return (letters(before - 1) if before else "") + chr(ord("a") + last)
