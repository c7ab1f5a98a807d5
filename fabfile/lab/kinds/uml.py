"""User-mode Linux: a kernel that is a process. It needs no virtualisation, and is far faster than an emulation.

The machine runs as a user without rights, who may write only to its disks and to one directory. Its network is a qemu
process without a machine, so addresses and forwarded ports are as in the other kinds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from fabfile import paths
from fabfile.errors import Problem
from fabfile.lab import files, probe, process, tools
from fabfile.lab import image as images
from fabfile.lab.disk import LabDisk, numbered, serial
from fabfile.lab.files import Unwritable
from fabfile.lab.image import Image
from fabfile.lab.kinds import uml_cow, uml_kernel, uml_supervisor
from fabfile.lab.kinds.kind import Unfit, letters, require
from fabfile.lab.kinds.uml_block import PIECE
from fabfile.lab.kinds.uml_kernel import FILES, KERNEL, PROGRAM, UmlKernel
from fabfile.lab.kinds.uml_supervisor import BASE
from fabfile.lab.vm import DISK, Vm

PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "patchelf": "patchelf", "apt-get": "apt", "dpkg-deb": "dpkg"}

VIRTIO_BLOCK = 2
"""Type of a disk in the virtio specification, section 5."""

PROBE_LIMIT = 20
"""Seconds for the first program of a machine to run, which takes less than one."""

PROBE_MEMORY = 128
"""In MiB."""

BASE_PATH = f"/proc/self/fd/{BASE}"
"""Path by which the machine opens the image under its root disk: its user may not enter our directories."""

STATIC = Path("/sbin/ldconfig")
"""A static program that every Debian has."""

INIT_ENDED = "Attempted to kill init! exitcode=0x00000000"
"""What the kernel prints when the only program of the probe has ended."""

SETTINGS = "supervisor.json"
"""Settings of the supervisor, in the machine's directory."""

SKIPPED = "raid6_init"
"""Function of the kernel that is not called at boot: it takes 0.85 s to find the fastest implementation of RAID 6."""

OWN = "own"
"""Directory of the machine's user: the changes to the root disk, and the management console."""

IDENTITIES = 0x70000000
"""First user id of machines that root starts, one for each port, above all that systemd assigns (UIDS-GIDS.md)."""

NOBODY = 65534
"""User id in a container that has fewer ids."""

MEMORY = Path("/dev/shm")
"""Preferred place of the machine's memory, an unnamed file."""


class Uml:
    """A machine that is a process of an ordinary user."""

    name = "uml"
    what = "User-mode Linux"
    end = signal.SIGTERM

    def image(self, suite: str) -> Image:
        """See `Kind.image`. The newest kernel is tried first, then the suite's own."""
        require(self.name, PROGRAMS)
        if files.noexec(paths.lab()):
            raise Unfit(self.name, f"programs cannot be run in {paths.lab()}, which is mounted with noexec")
        reasons = []
        for source in dict.fromkeys((uml_kernel.NEWEST, suite)):
            try:
                kernel = uml_kernel.find(source)
            except Unwritable:
                raise
            except Problem as problem:
                last = problem.details.splitlines()[-1:]
                reasons.append(f"Debian {source}'s kernel: {': '.join([problem.what, *last])}")
                continue
            depends = (os.uname().release, kernel.version, str(_memory(PROBE_MEMORY)), *probe.confinement())
            why = probe.remembered("uml", depends, partial(_boot, kernel))
            if not why:
                return images.build(suite, kernel)
            reasons.append(why)
        raise Unfit(self.name, "; ".join(reasons))

    def make_disks(self, vm: Vm, image: Image) -> None:
        """See `Kind.make_disks`."""
        (vm.directory / OWN).mkdir(mode=0o700)
        root = vm.directory / self.root_overlay(vm)
        if image.overlay:
            tools.run("cp", "-P", "--sparse=always", image.overlay, root)
        else:
            uml_cow.create(root, image.root, BASE_PATH)
        tools.run("truncate", "-s", DISK, vm.directory / "disk.raw")
        for number, disk in numbered(vm.disks):
            for name, size in _files(number, disk).items():
                tools.run("truncate", "-s", str(size), vm.directory / name)
        _equip(vm, image.directory / KERNEL)

    def root_overlay(self, vm: Vm) -> str:
        """See `Kind.root_overlay`."""
        return f"{OWN}/root.cow"

    def disk(self, vm: Vm, number: int) -> str:
        """See `Kind.disk`."""
        return ["/dev/ubda", "/dev/ubdb", *(f"/dev/vd{letters(place)}" for place in range(len(vm.disks)))][number]

    def start(self, vm: Vm, image: Image) -> None:
        """See `Kind.start`."""
        disks = [f"ubd0={self.root_overlay(vm)},{BASE_PATH},lab-root", "ubd1=disk.raw,,lab-disk"]
        disks += ["ubd2r=seed.tar,,lab-seed"]
        disks += [f"virtio_uml.device={OWN}/disk{number}:{VIRTIO_BLOCK}" for number, _ in numbered(vm.disks)]
        options = ["vec0:transport=fd,fd=0,mac=52:54:00:12:34:56", "root=/dev/ubda", "rw", "systemd.show_status=1"]
        # Debian's kernel has 512 terminals of this kind, each a device of udev and a unit of systemd.
        options += ["pty.legacy_count=0"]
        _start(vm, image.root, [*disks, *options], _network(vm))


def _equip(vm: Vm, kernel: Path) -> None:
    """Complete the directory of a new machine: add the kernel, and give the machine's user its own files.

    The directory itself stays ours, and root does nothing in it afterwards: root must not open or write to anything
    that the machine's user could replace by a link.
    """
    identity, directory = _identity(vm.port), vm.directory
    libraries = directory / uml_kernel.LIBRARY_DIR
    libraries.mkdir()
    libraries.chmod(0o755)  # the machine's user must be able to read it, whatever the umask is
    for name in FILES:
        shutil.copy(kernel / name, directory / name)
    directory.chmod(0o711)
    own = directory / OWN
    own.mkdir(mode=0o700, exist_ok=True)
    if identity == os.geteuid():
        return  # all is ours; our group may have another number
    for path in (*own.iterdir(), own, *directory.glob("*.raw"), *directory.glob("*.tar")):
        os.chown(path, identity, identity)


def _start(vm: Vm, base: Path, options: Sequence[str], network: Sequence[str]) -> None:
    """Start a machine in its directory.

    Args:
        vm: the machine.
        base: the image under its root disk.
        options: options of the kernel.
        network: program at the other end of its network cable, which is its standard input.
    """
    # The kernel's 64 serial lines would be devices and units, too.
    machine = [f"./{PROGRAM}", *options, f"mem={vm.memory}M", "seccomp=auto", "con=null", "con0=null,fd:1", "ssl=none"]
    machine += [f"uml_dir={OWN}/", "umid=uml", "quiet", f"initcall_blacklist={SKIPPED}"]
    with base.open("rb") as image:
        settings = {
            "identity": _identity(vm.port), "base": image.fileno(), "processor": _processor(), "network": network,
            "disks": {f"{OWN}/disk{number}": _settings(number, disk) for number, disk in numbered(vm.disks)},
            "machine": machine, "environment": {"PATH": "/usr/bin:/bin", "TMPDIR": str(_memory(vm.memory))},
        }  # fmt: skip
        files.write(vm.directory / SETTINGS, json.dumps(settings))
        program = [sys.executable, "-I", "-S", uml_supervisor.__file__, SETTINGS]
        process.spawn(vm.process, program, vm.log, [image.fileno()])


def _files(number: int, disk: LabDisk) -> dict[str, int]:
    """The files of an additional disk, with their sizes in bytes."""
    starts = range(0, disk.bytes, PIECE)
    return {f"disk{number}{f'.{n}' if n else ''}.raw": min(PIECE, disk.bytes - at) for n, at in enumerate(starts)}


def _settings(number: int, disk: LabDisk) -> dict[str, Any]:
    """The arguments for a `uml_block.Block`."""
    return {
        "files": [*_files(number, disk)], "size": disk.bytes, "serial": serial(number),
        "block": disk.block, "physical": disk.physical or disk.block,
        "read_only": disk.read_only, "discard": disk.discard,
    }  # fmt: skip


def _network(vm: Vm) -> list[str]:
    """A qemu process without a machine that provides the user network; its standard input is the cable."""
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in ((vm.port, 22), *vm.forward))
    command = ["qemu-system-x86_64", "-M", "none", "-m", "1", "-nodefaults", "-no-user-config", "-display", "none"]
    command += ["-netdev", f"user,id=user{forwards}", "-netdev", "dgram,id=cable,local.type=fd,local.str=0"]
    return [*command, "-netdev", "hubport,id=a,hubid=0,netdev=user", "-netdev", "hubport,id=b,hubid=0,netdev=cable"]


def _boot(kernel: UmlKernel, directory: Path) -> str:
    """Why a program does not run as the first process of a machine in an empty directory; empty: it does."""
    tree, vm = directory / "tree", Vm(directory, "uml", "", directory, 1, memory=PROBE_MEMORY)
    tree.mkdir()
    shutil.copy(STATIC, tree / "init")
    tools.run("mke2fs", "-q", "-t", "ext4", "-d", tree.name, "root.img", "16M", cwd=directory)
    options = [f"ubd0r={BASE_PATH}", "root=/dev/ubda", "ro", "init=/init", "panic=1", "--", "-V"]
    _equip(vm, kernel.directory)
    _start(vm, directory / "root.img", options, ["sleep", str(2 * PROBE_LIMIT)])
    end, printed = monotonic() + PROBE_LIMIT, ""
    try:
        while INIT_ENDED not in printed and vm.pid and monotonic() < end:
            sleep(0.05)
            printed = vm.console.read_text(errors="replace") if vm.console.exists() else ""
    finally:
        process.end(vm.process, Uml.end)
    if INIT_ENDED in printed:
        return ""
    last = [*printed.splitlines(), *vm.log.read_text(errors="replace").splitlines()][-3:]
    return f"User-mode Linux {kernel.version} does not boot on this controller: {' / '.join(last)}"


def _identity(port: int) -> int:
    """The user that a machine runs as: ours, or one without any rights if we are root."""
    if os.geteuid():
        return os.geteuid()
    wanted = IDENTITIES + port
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= wanted < first + count:
            return wanted
    return NOBODY


def _memory(size: int) -> Path:
    """The directory for `size` MiB of memory: /dev/shm if it has room and allows execution, otherwise one on disk."""
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return Path(OWN)
    fits = found.f_bavail * found.f_frsize >= size << 20
    return MEMORY if fits and not files.noexec(MEMORY) and os.access(MEMORY, os.W_OK) else Path(OWN)


def _processor() -> int:
    """The processor with the fewest machines; processes of one machine only ever wait for each other."""
    taken = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended
            if (directory / "cmdline").read_bytes().startswith(f"./{PROGRAM}\0".encode()):
                taken.append(os.sched_getaffinity(int(directory.name)))
    return min(os.sched_getaffinity(0), key=lambda processor: taken.count({processor}))
