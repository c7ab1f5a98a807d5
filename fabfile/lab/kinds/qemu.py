"""Machines that are a qemu process with Debian's own kernel: what KVM and the emulated processor share."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from fabfile.lab import image as images
from fabfile.lab import process, tools
from fabfile.lab.disk import LabDisk, numbered, serial
from fabfile.lab.image import Image
from fabfile.lab.kinds.kind import letters, require
from fabfile.lab.vm import DISK, Vm

PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils"}

HUGE = 16 << 40
"""Size in bytes from which a disk is a qcow2 file, as ext4 has no files of that size."""

OWN = (("root.qcow2", "qcow2", "lab-root"), ("disk.qcow2", "qcow2", "lab-disk"), ("seed.tar", "raw", "lab-seed"))
"""The disks of every machine: file, format, serial number."""


PARAMETERS = "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off quiet systemd.show_status=1"
"""Parameters of every machine's kernel."""

INITRD = """
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/lab"
printf '%s\\n' virtio_pci virtio_blk ext4 >"$1/usr/share/initramfs-tools/modules.d/lab"
"""
"""Before the kernel is installed: limit the initial RAM disk to what finds the root disk. It has 64 MB otherwise, and
takes an emulated processor seconds to unpack."""


class DebianKernel:
    """The suite's own kernel, and an initial RAM disk with the modules for finding the root disk."""

    name = "debian"
    packages = ("initramfs-tools", "linux-image-cloud-amd64")
    options = (f"--essential-hook={INITRD}",)
    key = ""

    def finish(self, tree: Path, part: Path, log: Path) -> str:
        """Copy kernel and initial RAM disk from the finished tree, and return the kernel's version."""
        for pattern, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd")):
            shutil.copyfile(max((tree / "boot").glob(pattern)), part / name)
        return max((tree / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")


class Qemu:
    """A machine that is one qemu process."""

    name: str
    options: tuple[str, ...]
    """Options of qemu."""
    parameters: tuple[str, ...] = ()
    """Further parameters of the machine's kernel."""
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
        for number, disk in numbered(vm.disks):
            tools.run(*create, _format(disk), vm.directory / _file(number, disk), disk.size)

    def root_overlay(self, vm: Vm) -> str:
        """See `Kind.root_overlay`."""
        return "root.qcow2"

    def disk(self, vm: Vm, number: int) -> str:
        """See `Kind.disk`. The seed disk is the third disk."""
        return [f"/dev/vd{letters(place)}" for place in range(len(vm.disks) + 3) if place != 2][number]

    def start(self, vm: Vm, image: Image) -> None:
        """See `Kind.start`."""
        process.spawn(vm.process, command(vm, image, self.options, self.parameters), vm.log)


def command(vm: Vm, image: Image, options: tuple[str, ...], parameters: tuple[str, ...]) -> list[str | Path]:
    """Return qemu's command line; see `Qemu` for the last two."""
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{a}-:{b}" for a, b in ((vm.port, 22), *vm.forward))
    command: list[str | Path] = ["qemu-system-x86_64", *options, "-m", str(vm.memory)]
    command += ["-name", vm.name, "-display", "none", "-nodefaults", "-no-user-config"]
    command += ["-chardev", f"file,id=console,path={_escaped(vm.console)},append=on", "-serial", "chardev:console"]
    command += ["-d", "guest_errors"]
    command += ["-kernel", image.directory / "vmlinuz", "-initrd", image.directory / "initrd"]
    command += ["-append", " ".join([PARAMETERS, *parameters])]
    for file, format, name in OWN:
        command += _disk(vm.directory / file, format, name)
    for number, disk in numbered(vm.disks):
        command += _further(vm, number, disk)
    command += ["-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net"]
    return [*command, "-device", "virtio-rng-pci"]


def _further(vm: Vm, number: int, disk: LabDisk) -> list[str]:
    """The options for an additional disk."""
    drive = ",readonly=on" if disk.read_only else ""
    device = f",logical_block_size={disk.block},physical_block_size={disk.physical or disk.block}"
    device += "" if disk.discard else ",discard=off"
    return _disk(vm.directory / _file(number, disk), _format(disk), serial(number), drive, device)


def _file(number: int, disk: LabDisk) -> str:
    """Name of the file of an additional disk."""
    return f"disk{number}.{_format(disk)}"


def _format(disk: LabDisk) -> str:
    """Format of the file of an additional disk."""
    return "raw" if disk.bytes < HUGE else "qcow2"


def _disk(file: Path, format: str, serial: str, drive: str = "", device: str = "") -> list[str]:
    """The options for a disk.

    Args:
        file: its file.
        format: format of the file.
        serial: serial number of the disk.
        drive: more options for the file, with a leading comma.
        device: more options for the disk, with a leading comma.
    """
    drive = f"file={_escaped(file)},format={format},if=none,id={serial},discard=unmap{drive}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={serial},serial={serial}{device}"]


def _escaped(path: Path) -> str:
    """Escape a path as a value in qemu's comma-separated options."""
    return str(path).replace(",", ",,")
