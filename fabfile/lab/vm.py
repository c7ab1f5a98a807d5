"""One machine of the lab: its directory, its state, and how to reach it.

How it is started, and the names of its disks, depend on its kind: see `kinds`.
"""

from __future__ import annotations

import io
import os
import socket
import subprocess
import tarfile
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgspec

from fabfile.errors import Failed, Refused
from fabfile.lab import files, process, tools
from fabfile.lab.disk import LabDisk

SHORTEST, LONGEST = 1.0, 15.0
"""Least and most seconds to wait for SSH in one attempt while a machine boots."""

BOOT_LIMIT = 300
"""Seconds after which a boot has failed; the slowest takes about 30, and more if several machines share two cores."""

KEY, KNOWN_HOSTS = "id_ed25519", "known_hosts"
"""Names in the lab's directory: the key that may log in to its machines, and their pinned host keys."""

DISK = "20G"
"""Size of the empty disk that every machine has."""


FILE, PROCESS = "vm.json", "process.json"
"""Names in a machine's directory: the file that makes it complete, and the record of its process."""


class BrokenMachine(Failed):
    """The directory of a machine is incomplete or damaged."""


class Vm(msgspec.Struct, frozen=True):
    """A machine of the lab."""

    directory: Path
    kind: str
    """Name of its kind: `kvm`, `uml` or `tcg`."""
    suite: str
    image: Path
    """Directory of the image that its root disk is an overlay of."""
    port: int
    """Port of 127.0.0.1 that leads to its SSH."""
    kernel: str = ""
    """Version of the kernel that it boots."""
    forward: tuple[tuple[int, int], ...] = ()
    """Other forwarded ports: (here, in the machine)."""
    memory: int = 1536
    """In MiB."""
    host_key: str = ""
    """Its public host key, which is pinned."""
    image_id: str = ""
    """Identity of the image that its overlay belongs to; see `Image.id`."""
    disks: tuple[LabDisk, ...] = ()
    """Its additional disks."""

    @property
    def name(self) -> str:
        """Its name, which is that of its directory."""
        return self.directory.name

    @property
    def console(self) -> Path:
        """Path of the log of its console."""
        return self.directory / "console.log"

    @property
    def log(self) -> Path:
        """Path of the log of the program that runs it."""
        return self.directory / "machine.log"

    @property
    def process(self) -> Path:
        """Path of the record of its process."""
        return self.directory / PROCESS

    @property
    def pid(self) -> int | None:
        """Id of its process; None if it does not run."""
        return process.read(self.process)

    def known_hosts(self) -> list[str]:
        """Return its lines for a known_hosts file, one for each port that leads to it."""
        return [f"[127.0.0.1]:{port} {self.host_key}" for port in (self.port, *(here for here, _ in self.forward))]

    def ssh(self, *command: str, connect: int = 5) -> list[str]:
        """Return the command line of ssh, with the lab's key and pinned host key, and without the user's settings.

        Args:
            command: what to run there; nothing: a shell.
            connect: seconds to wait for the connection.
        """
        options = [
            f"UserKnownHostsFile={KNOWN_HOSTS}",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            # Neither a machine that reboots nor qemu's network closes its connections.
            "ServerAliveInterval=5",
            f"ConnectTimeout={connect}",
            "LogLevel=ERROR",
        ]
        flags = [part for option in options for part in ("-o", option)]
        # In the lab's directory with relative names: ssh splits paths at blanks, and expands %h and ${HOME} in them.
        place = ["env", f"--chdir={self.directory.parent}"]
        return [*place, "ssh", "-F", "none", *flags, "-i", KEY, "-p", str(self.port), "root@127.0.0.1", *command]


def free_ports(count: int) -> list[int]:
    """Return free TCP ports of 127.0.0.1; all are bound at the same time, so they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def write(vm: Vm) -> None:
    """Write the file that makes a machine complete, atomically."""
    state = {field: value for field, value in msgspec.structs.asdict(vm).items() if field != "directory"}
    files.write(vm.directory / FILE, msgspec.json.encode(state, enc_hook=str))


def read(directory: Path) -> Vm:
    """Read the machine of a directory.

    Raises:
        BrokenMachine: the directory is incomplete or damaged.
    """
    file = directory / FILE
    try:
        state = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        return msgspec.convert({**state, "directory": directory}, Vm, dec_hook=_path)
    except FileNotFoundError as error:
        raise BrokenMachine(f"{directory.name} is half made", f"there is no {file}") from error
    except (OSError, msgspec.DecodeError, Refused) as error:
        raise BrokenMachine(f"{directory.name} is broken", f"{file}: {error}") from error


def _path(type: type, value: str | Path) -> Path:
    return Path(value)


def seed(directory: Path, authorized: str) -> str:
    """Write a machine's seed disk, with its name, host key and authorized key; return its public host key."""
    key, name = directory / "host_key", directory.name
    tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key)
    public = key.with_suffix(".pub").read_text()
    content = {
        "etc/hostname": (f"{name}\n", 0o644),
        "etc/hosts": (f"127.0.0.1 localhost {name}\n", 0o644),
        "etc/ssh/ssh_host_ed25519_key": (key.read_text(), 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (public, 0o644),
        "root/.ssh/authorized_keys": (authorized, 0o600),
    }
    disk = directory / "seed.tar"
    with tarfile.open(disk, "w") as out:
        for path, (text, mode) in content.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(text.encode()), mode
            out.addfile(info, io.BytesIO(text.encode()))
    disk.chmod(0o600)
    key.unlink()
    key.with_suffix(".pub").unlink()
    return public


def answers(vm: Vm, limit: int = 5) -> bool:
    """Return whether SSH works within `limit` seconds, with the host key that the machine was given."""
    command = vm.ssh("true", connect=limit)
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0


def wait(vm: Vm, limit: float = BOOT_LIMIT) -> float:
    """Wait until SSH works, and return the seconds that it took.

    The first attempts are short, as one made before the machine has a network is never answered. Later ones are longer,
    because a slow machine has to serve every attempt, even one that was given up.

    Raises:
        Failed: the machine stopped, or took too long; with the end of its console.
    """
    begin, attempt = monotonic(), SHORTEST
    while not answers(vm, round(attempt)):
        now = monotonic()
        if vm.pid is None or now - begin > limit:
            why = "stopped" if vm.pid is None else f"did not answer within {limit:.0f} s"
            raise Failed(f"{vm.name} {why} while it booted", _tail(vm), hint=f"its console: {vm.console}")
        attempt = min(max(attempt, (now - begin) / 5), LONGEST)
        sleep(0.1)
    return monotonic() - begin


def _tail(vm: Vm) -> str:
    """The end of its console, and of the output of the program that runs it."""
    logs = [file for file in (vm.console, vm.log) if file.exists()]
    return "\n".join(line for file in logs for line in _last(file, 8192).splitlines()[-25:])


def _last(file: Path, size: int) -> str:
    with file.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))
        return stream.read().decode(errors="replace")
