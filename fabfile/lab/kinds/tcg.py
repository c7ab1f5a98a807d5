"""An emulated processor, which works everywhere and is slow."""

from __future__ import annotations

from fabfile.lab.kinds.qemu import Qemu

CPU = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq,+rdrand"
"""The features that make emulated programs faster. With everything that qemu can emulate, a boot takes a fifth longer:
five levels of page tables, SMAP, larger registers to save, and AVX, which libc prefers and which is slow here."""


class Tcg(Qemu):
    """qemu's own emulation."""

    name = "tcg"
    what = "emulated processor (TCG)"
    # With a second processor the same work takes a third more time, and a core of other machines.
    options = ("-accel", "tcg", "-smp", "1", "-cpu", CPU)
    # qemu translates code again for each address that it runs at. With random addresses, starting a program takes four
    # times as long.
    parameters = ("norandmaps",)
