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
        return pid if str(self.directory) in command else None

    def ssh(self, *command: str) -> list[str]:
        """The command line that opens SSH to it: the lab's key, the pinned host key, nothing of the user's own."""
        lab = self.directory.parent
        options = [
            f"UserKnownHostsFile={lab}/known_hosts",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
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


def seed(vm: Vm, authorized: str) -> str:
    """Write the machine's seed disk (name, host key, who may log in) and return its public host key."""
    key = vm.directory / "host_key"
    tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", vm.name, "-f", key)
    public = key.with_suffix(".pub").read_text()
    files = {
        "etc/hostname": (f"{vm.name}\n", 0o644),
        "etc/hosts": (f"127.0.0.1 localhost {vm.name}\n", 0o644),
        "etc/ssh/ssh_host_ed25519_key": (key.read_text(), 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (public, 0o644),
        "root/.ssh/authorized_keys": (authorized, 0o600),
    }
    disk = vm.directory / "seed.tar"
    with tarfile.open(disk, "w") as out:
        for name, (text, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text.encode()), mode
            out.addfile(info, io.BytesIO(text.encode()))
    disk.chmod(0o600)
    key.unlink()
    key.with_suffix(".pub").unlink()
    return public


def create_disks(vm: Vm, base: Path) -> None:
    """An overlay over the image, and an empty disk."""
    tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", vm.directory / "root.qcow2")
    tools.run("qemu-img", "create", "-q", "-f", "qcow2", vm.directory / "disk.qcow2", DISK)


def start(vm: Vm, kernel: Path, initrd: Path, accelerator: tuple[str, ...]) -> None:
    """Start the machine and return at once.

    Raises:
        Failed: qemu did not start.
    """
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{a}-:{b}" for a, b in ((vm.port, 22), *vm.forward))
    command: list[str | Path] = ["qemu-system-x86_64", *accelerator, "-cpu", "max", "-smp", "2", "-m", str(vm.memory)]
    command += ["-name", vm.name, "-display", "none", "-nodefaults", "-no-user-config"]
    command += ["-serial", f"file:{vm.console}", "-qmp", f"unix:{vm.directory}/qmp,server=on,wait=off"]
    command += ["-kernel", kernel, "-initrd", initrd]
    command += ["-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off quiet systemd.show_status=1"]
    for file, format, serial in (
        ("root.qcow2", "qcow2", "lab-root"),
        ("disk.qcow2", "qcow2", "lab-disk"),
        ("seed.tar", "raw", "lab-seed"),
    ):
        command += ["-drive", f"file={vm.directory}/{file},format={format},if=none,id={serial},discard=unmap"]
        command += ["-device", f"virtio-blk-pci,drive={serial},serial={serial}"]
    command += [
        "-netdev",
        f"user,id=net{forwards}",
        "-device",
        "virtio-net-pci,netdev=net",
        "-device",
        "virtio-rng-pci",
    ]
    command += ["-pidfile", vm.directory / "pid", "-daemonize"]
    tools.run(*command)


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
            tail = "\n".join(vm.console.read_text(errors="replace").splitlines()[-25:])
            raise Failed(f"{vm.name} {why} while it booted", tail, hint=f"all of its console: {vm.console}")
        sleep(0.5)
    return monotonic() - begin


def kill(vm: Vm) -> None:
    """End the machine as a power cut would, and only it."""
    pid = vm.pid
    if pid is None:
        return
    os.kill(pid, signal.SIGKILL)
    while vm.pid is not None:
        sleep(0.02)
