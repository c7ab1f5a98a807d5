"""An emulated processor, which works everywhere and is slow."""

from __future__ import annotations

from fabfile.lab.kinds.qemu import Qemu


class Tcg(Qemu):
    """qemu's own emulation."""

    name = "tcg"
    what = "emulated processor (TCG)"
    # With a second processor the same work takes a third more time, and a core of other machines.
    options = ("-accel", "tcg", "-smp", "1")
