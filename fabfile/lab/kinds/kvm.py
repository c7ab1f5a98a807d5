"""KVM, if it actually boots a kernel: even with /dev/kvm, a stock kernel may hang early."""

from __future__ import annotations

import os
from pathlib import Path

from fabfile.lab import probe, tools
from fabfile.lab.image import Image
from fabfile.lab.kinds.kind import Unfit, require
from fabfile.lab.kinds.qemu import PROGRAMS, Qemu

DEVICE = Path("/dev/kvm")

FIRMWARE_LIMIT = 5
"""Seconds for the firmware's first output, which takes a tenth of one."""

KERNEL_LIMIT = 20
"""Seconds for the kernel to reach its first process, which takes less than two."""


class Kvm(Qemu):
    """Hardware virtualisation."""

    name = "kvm"
    what = "KVM"
    options = ("-accel", "kvm", "-smp", "2", "-cpu", "max")

    def image(self, suite: str) -> Image:
        """See `Kind.image`. The firmware is tried first, as it comes with qemu and needs no image."""
        if not os.access(DEVICE, os.R_OK | os.W_OK):
            raise Unfit(self.name, f"{DEVICE} cannot be opened")
        require(self.name, PROGRAMS)
        depends = (os.uname().release, tools.run("qemu-system-x86_64", "--version").splitlines()[0])
        if why := probe.remembered("kvm", depends, _firmware):
            raise Unfit(self.name, why)
        image = super().image(suite)
        if why := probe.remembered("kvm", (*depends, str(image.directory)), lambda _: _kernel(image)):
            raise Unfit(self.name, why)
        return image


def _firmware(_: Path) -> str:
    """Why the firmware does not run under KVM; empty: it does."""
    command = [*_qemu("64"), "-chardev", "stdio,id=words", "-device", "isa-debugcon,iobase=0x402,chardev=words"]
    return "" if probe.says(command, b"SeaBIOS", FIRMWARE_LIMIT) else "/dev/kvm does not run even qemu's firmware"


def _kernel(image: Image) -> str:
    """Why a kernel does not boot under KVM; empty: it does."""
    command = [*_qemu("512"), "-serial", "stdio", "-kernel", image.directory / "vmlinuz"]
    command += ["-initrd", image.directory / "initrd", "-append", "console=ttyS0 panic=-1 rdinit=/bin/false"]
    boots = probe.says(command, b"Run /bin/false as init process", KERNEL_LIMIT)
    return "" if boots else "/dev/kvm does not boot Debian's kernel"


def _qemu(memory: str) -> list[str | Path]:
    command: list[str | Path] = ["qemu-system-x86_64", *Kvm.options, "-m", memory]
    return [*command, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
