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
        kind: name of the kind.
        why: the reason.
        packages: Debian packages that would help.
    """

    def __init__(self, kind: str, why: str, packages: tuple[str, ...] = ()) -> None:
        super().__init__(f"{kind}: {why}")
        self.kind, self.why, self.packages = kind, why, packages


class Kind(Protocol):
    """What differs between the kinds."""

    name: str
    what: str
    """Name for an operator, such as `User-mode Linux`."""
    end: Signals
    """Signal that stops its process as a power cut would."""

    def image(self, suite: str) -> Image:
        """Find or build the suite's image for this kind, after checking that it boots on the controller.

        Raises:
            Unfit: the controller cannot run such machines.
        """

    def make_disks(self, vm: Vm, image: Image) -> None:
        """Create the files of a new machine's disks in its directory."""

    def disk(self, vm: Vm, number: int) -> str:
        """Return a machine's name for one of its disks.

        Args:
            vm: the machine.
            number: 0: the root disk; 1: the empty one of 20G; from 2 on: the additional ones.

        Raises:
            IndexError: it has no such disk.
        """

    def root_overlay(self, vm: Vm) -> str:
        """Return the name of the file in a machine's directory that has the changes to its root disk."""

    def start(self, vm: Vm, image: Image) -> None:
        """Start the machine, record its process in `vm.process`, and return at once.

        Raises:
            Failed: it did not start; with the output of the program.
        """


def require(kind: str, programs: Mapping[str, str]) -> None:
    """Check that the controller has what a kind needs.

    Args:
        kind: name of the kind.
        programs: program → the Debian package that contains it.

    Raises:
        Unfit: the architecture is another one, or a program is missing.
    """
    if platform.machine() != "x86_64":
        raise Unfit(kind, f"it runs x86_64 machines, and this controller is {platform.machine()}")
    missing = [program for program in programs if not tools.which(program)]
    if missing:
        raise Unfit(kind, f"missing: {', '.join(missing)}", tuple(sorted({programs[each] for each in missing})))


def letters(place: int) -> str:
    """Return the letters of a disk in the kernel's names: `a` for the first one, `aa` after `z`.

    Args:
        place: index of the disk among those with such names, from 0.
    """
    before, last = divmod(place, 26)
    return (letters(before - 1) if before else "") + chr(ord("a") + last)
