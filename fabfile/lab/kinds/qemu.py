"""Machines that are qemu with Debian's own kernel: what KVM and the emulated processor share."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from fabfile.lab import image as images
from fabfile.lab import process, tools
from fabfile.lab.image import Image
from fabfile.lab.kinds.kind import letter, require
from fabfile.lab.vm import DISK, Vm

PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils"}


class DebianKernel:
    """The kernel of the suite itself, and an initial RAM disk with the modules that it needs to find its disk."""

    name = "debian"
    packages = ("initramfs-tools", "linux-image-cloud-amd64")
    key = ""

    def finish(self, tree: Path, part: Path, log: Path) -> str:
        """Take kernel and initial RAM disk out of the finished tree and return the kernel's version."""
        for pattern, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd")):
            shutil.copyfile(max((tree / "boot").glob(pattern)), part / name)
        return max((tree / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")


class Qemu:
    """A machine that is one qemu process."""

    name: str
    options: tuple[str, ...]
    most_disks = 23  # one each on the PCI bus, which has 32 places
    end = signal.SIGKILL

    def image(self, suite: str) -> Image:
        """The suite's image with Debian's kernel; see `Kind.image`."""
        require(self.name, PROGRAMS)
        return images.build(suite, DebianKernel())

    def make_disks(self, vm: Vm, image: Image) -> None:
        """See `Kind.make_disks`."""
        create = ("qemu-img", "create", "-q", "-f")
        base = ("-b", image.disk, "-F", "qcow2" if image.overlay else "raw")
        tools.run(*create, "qcow2", *base, vm.directory / self.root_overlay(vm))
        tools.run(*create, "qcow2", vm.directory / "disk.qcow2", DISK)
        for number, size in enumerate(vm.disks, 2):
            tools.run(*create, "raw", vm.directory / f"disk{number}.raw", size)

    def root_overlay(self, vm: Vm) -> str:
        """See `Kind.root_overlay`."""
        return "root.qcow2"

    def disk(self, number: int) -> str:
        """See `Kind.disk`."""
        return f"/dev/vd{letter(number)}"

    def start(self, vm: Vm, image: Image) -> None:
        """See `Kind.start`."""
        process.spawn(vm.process, command(vm, image, self.options), vm.log)


def command(vm: Vm, image: Image, options: tuple[str, ...]) -> list[str | Path]:
    """qemu's command line."""
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{a}-:{b}" for a, b in ((vm.port, 22), *vm.forward))
    command: list[str | Path] = ["qemu-system-x86_64", *options, "-cpu", "max", "-smp", "2", "-m", str(vm.memory)]
    command += ["-name", vm.name, "-display", "none", "-nodefaults", "-no-user-config"]
    command += ["-chardev", f"file,id=console,path={_escaped(vm.console)},append=on", "-serial", "chardev:console"]
    command += ["-d", "guest_errors"]
    command += ["-kernel", image.directory / "vmlinuz", "-initrd", image.directory / "initrd"]
    command += ["-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off quiet systemd.show_status=1"]
    for file, format, serial in (
        ("root.qcow2", "qcow2", "lab-root"),
        ("disk.qcow2", "qcow2", "lab-disk"),
        ("seed.tar", "raw", "lab-seed"),
        *((f"disk{number}.raw", "raw", f"lab-disk{number}") for number, _ in enumerate(vm.disks, 2)),
    ):
        drive = f"file={_escaped(vm.directory / file)},format={format},if=none,id={serial},discard=unmap"
        command += ["-drive", drive, "-device", f"virtio-blk-pci,drive={serial},serial={serial}"]
    command += ["-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net"]
    return [*command, "-device", "virtio-rng-pci"]


def _escaped(path: Path) -> str:
    """A path as a value in qemu's comma-separated options."""
    return str(path).replace(",", ",,")
