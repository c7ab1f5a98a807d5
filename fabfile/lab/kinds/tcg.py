"""An emulated processor: it works everywhere, and is slow."""

from __future__ import annotations

from fabfile.lab.kinds.qemu import Qemu


class Tcg(Qemu):
    """qemu's own emulation."""

    name = "tcg"
    what = "emulated processor (TCG)"
    options = ("-accel", "tcg,thread=multi")
