"""One virtual machine: start, wait, stop. All of it is in one directory, and goes with it."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import tarfile
from pathlib import Path
from time import monotonic, sleep

import msgspec

from fabfile.errors import Failed
from fabfile.lab import tools
from fabfile.lab.image import Image

BOOT_LIMIT = 300
"""Seconds until a boot counts as failed: one takes about 30 alone, some more when several share two cores."""

DISK = "20G"


class Vm(msgspec.Struct, frozen=True):
    """A machine of the lab, by the directory that holds it."""

    directory: Path
    port: int
    forward: tuple[tuple[int, int], ...] = ()
    """More forwarded ports: (here, in the machine)."""
    memory: int = 1536
    """MiB."""
    host_key: str = ""
    """Its public host key, which is pinned."""
    disks: tuple[str, ...] = ()
    """Sizes of more empty disks, from /dev/vdd on; `lab-disk2` is the serial number of the first."""

    @property
    def name(self) -> str:
        """The directory's name is the machine's."""
        return self.directory.name

    @property
    def console(self) -> Path:
        """What the machine said on its serial console."""
        return self.directory / "console.log"

    @property
    def pid(self) -> int | None:
        """Its process, if that still runs and still is this machine's."""
        try:
            pid = int((self.directory / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except (OSError, ValueError):
            return None
        return pid if f"{self.directory}/pid" in command else None

    def known_hosts(self) -> list[str]:
        """Its lines in a known_hosts file, one for each port by which it is reached."""
        return [f"[127.0.0.1]:{port} {self.host_key}" for port in (self.port, *(here for here, _ in self.forward))]

    def ssh(self, *command: str) -> list[str]:
        """The command line that opens SSH to it: the lab's key, the pinned host key, nothing of the user's own."""
        lab = self.directory.parent
        options = [
            f"UserKnownHostsFile={lab}/known_hosts",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            # A machine that reboots does not close its connections, and qemu's network does not, either.
            "ServerAliveInterval=5",
        ]
        flags = [part for option in (*options, "ConnectTimeout=5", "LogLevel=ERROR") for part in ("-o", option)]
        return [
            "ssh",
            "-F",
            "none",
            *flags,
            "-i",
            f"{lab}/id_ed25519",
            "-p",
            str(self.port),
            "root@127.0.0.1",
            *command,
        ]


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that nobody listens on; all are bound at once, so they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def create(
    directory: Path,
    image: Image,
    authorized: str,
    port: int,
    forward: tuple[tuple[int, int], ...],
    memory: int,
    disks: tuple[str, ...] = (),
) -> Vm:
    """Make a machine's directory: its keys, its disks, and last the file by which it is known.

    Args:
        directory: what will hold it.
        image: what its root disk is an overlay of.
        authorized: the public key that may log in.
        port: the port of 127.0.0.1 that leads to its SSH.
        forward: more of them: (here, in the machine).
        memory: MiB.
        disks: sizes of more empty disks.
    """
    directory.mkdir(mode=0o700)
    vm = Vm(directory, port, forward, memory, _seed(directory, authorized), disks)
    tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image.disk, "-F", image.format, directory / "root.qcow2")
    tools.run("qemu-img", "create", "-q", "-f", "qcow2", directory / "disk.qcow2", DISK)
    for number, size in enumerate(disks, 2):
        tools.run("qemu-img", "create", "-q", "-f", "raw", directory / f"disk{number}.raw", size)
    state = {field: value for field, value in msgspec.structs.asdict(vm).items() if field != "directory"}
    (directory / "vm.json").write_bytes(msgspec.json.encode(state))
    return vm


def read(file: Path) -> Vm:
    """The machine of a `vm.json`."""
    return msgspec.convert({"directory": file.parent, **msgspec.json.decode(file.read_bytes())}, Vm)


def _seed(directory: Path, authorized: str) -> str:
    """Write a machine's seed disk (name, host key, who may log in) and return its public host key."""
    key, name = directory / "host_key", directory.name
    tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key)
    public = key.with_suffix(".pub").read_text()
    files = {
        "etc/hostname": (f"{name}\n", 0o644),
        "etc/hosts": (f"127.0.0.1 localhost {name}\n", 0o644),
        "etc/ssh/ssh_host_ed25519_key": (key.read_text(), 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (public, 0o644),
        "root/.ssh/authorized_keys": (authorized, 0o600),
    }
    disk = directory / "seed.tar"
    with tarfile.open(disk, "w") as out:
        for path, (text, mode) in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(text.encode()), mode
            out.addfile(info, io.BytesIO(text.encode()))
    disk.chmod(0o600)
    key.unlink()
    key.with_suffix(".pub").unlink()
    return public


def command(vm: Vm, kernel: Path, initrd: Path, accelerator: tuple[str, ...]) -> list[str | Path]:
    """qemu's command line."""
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{a}-:{b}" for a, b in ((vm.port, 22), *vm.forward))
    command: list[str | Path] = ["qemu-system-x86_64", *accelerator, "-cpu", "max", "-smp", "2", "-m", str(vm.memory)]
    command += ["-name", vm.name, "-display", "none", "-nodefaults", "-no-user-config"]
    command += ["-chardev", f"file,id=console,path={_escaped(vm.console)},append=on", "-serial", "chardev:console"]
    # In the background qemu is silent unless it logs something: this is where it says why it died.
    command += ["-D", vm.directory / "qemu.log", "-d", "guest_errors"]
    command += ["-kernel", kernel, "-initrd", initrd]
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
    command += ["-device", "virtio-rng-pci", "-pidfile", vm.directory / "pid", "-daemonize"]
    return command


def _escaped(path: Path) -> str:
    """A path as a value in qemu's comma-separated options."""
    return str(path).replace(",", ",,")


def start(vm: Vm, kernel: Path, initrd: Path, accelerator: tuple[str, ...]) -> None:
    """Start the machine and return at once.

    Raises:
        Failed: qemu did not start.
    """
    tools.run(*command(vm, kernel, initrd, accelerator))


def answers(vm: Vm) -> bool:
    """Whether SSH answers, with the host key that was given to the machine."""
    done = subprocess.run(vm.ssh("true"), capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def wait(vm: Vm, limit: float = BOOT_LIMIT) -> float:
    """Wait until SSH answers and return the seconds it took.

    Raises:
        Failed: the machine stopped, or did not answer in time; with the end of its console.
    """
    begin = monotonic()
    while not answers(vm):
        if vm.pid is None or monotonic() - begin > limit:
            why = "stopped" if vm.pid is None else f"did not answer within {limit:.0f} s"
            raise Failed(f"{vm.name} {why} while it booted", _tail(vm), hint=f"all of its console: {vm.console}")
        sleep(0.5)
    return monotonic() - begin


def _tail(vm: Vm) -> str:
    """The end of its console, and what qemu itself had to say."""
    files = [file for file in (vm.console, vm.directory / "qemu.log") if file.exists()]
    return "\n".join(line for file in files for line in file.read_text(errors="replace").splitlines()[-25:])


def kill(vm: Vm) -> None:
    """End the machine as a power cut would, and only it."""
    pid = vm.pid
    if pid is None:
        return
    os.kill(pid, signal.SIGKILL)
    while vm.pid is not None:
        sleep(0.02)
