"""An emulated processor: it works everywhere, and is slow."""

from __future__ import annotations

from fabfile.lab.kinds.qemu import Qemu


class Tcg(Qemu):
    """qemu's own emulation."""

    name = "tcg"
    what = "emulated processor (TCG)"
    # A second processor costs a third more time for the same work, and takes a core from other machines.
    options = ("-accel", "tcg", "-smp", "1")
