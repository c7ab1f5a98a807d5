"""One machine of the lab: wait, look. All of it is in one directory, and goes with it.

How it is started, and what its disks are called, is its kind's: see `kinds`.
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
from fabfile.lab.disk import Disk

SHORTEST, LONGEST = 1.0, 15.0
"""Seconds for SSH to answer while a machine boots."""

BOOT_LIMIT = 300
"""Seconds until a boot counts as failed: the slowest takes about 30 alone, some more when several share two cores."""

KEY, KNOWN_HOSTS = "id_ed25519", "known_hosts"
"""Names in the lab's directory: of the key that may log in to its machines, and of their pinned keys."""

DISK = "20G"
"""Size of the empty disk that every machine has."""


FILE, PROCESS = "vm.json", "process.json"
"""Names in a machine's directory: of what says that it is whole, and of the record of its process."""


class Broken(Failed):
    """A machine's directory that holds no machine."""


class Vm(msgspec.Struct, frozen=True):
    """A machine of the lab, by the directory that holds it."""

    directory: Path
    kind: str
    """Name of its kind: `kvm`, `uml` or `tcg`."""
    suite: str
    image: Path
    """Directory of the image that its root disk is an overlay of."""
    port: int
    """The port of 127.0.0.1 that leads to its SSH."""
    kernel: str = ""
    """Version of the kernel that it boots."""
    forward: tuple[tuple[int, int], ...] = ()
    """More forwarded ports: (here, in the machine)."""
    memory: int = 1536
    """MiB."""
    host_key: str = ""
    """Its public host key, which is pinned."""
    image_id: str = ""
    """The very making of its image, which is all that its overlay fits: see `Image.id`."""
    disks: tuple[Disk, ...] = ()
    """Its further disks."""

    @property
    def name(self) -> str:
        """The directory's name is the machine's."""
        return self.directory.name

    @property
    def console(self) -> Path:
        """What the machine printed on its console."""
        return self.directory / "console.log"

    @property
    def log(self) -> Path:
        """What the program that runs it printed."""
        return self.directory / "machine.log"

    @property
    def process(self) -> Path:
        """Where its process is recorded."""
        return self.directory / PROCESS

    @property
    def pid(self) -> int | None:
        """Its process, if that still runs."""
        return process.read(self.process)

    def known_hosts(self) -> list[str]:
        """Its lines in a known_hosts file, one for each port by which it is reached."""
        return [f"[127.0.0.1]:{port} {self.host_key}" for port in (self.port, *(here for here, _ in self.forward))]

    def ssh(self, *command: str, connect: int = 5) -> list[str]:
        """The command line that opens SSH to it: the lab's key, the pinned host key, nothing of the user's own.

        Args:
            command: what to run there; nothing for a shell.
            connect: seconds to wait for the connection.
        """
        options = [
            f"UserKnownHostsFile={KNOWN_HOSTS}",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            # A machine that reboots does not close its connections, and qemu's network does not, either.
            "ServerAliveInterval=5",
            f"ConnectTimeout={connect}",
            "LogLevel=ERROR",
        ]
        flags = [part for option in options for part in ("-o", option)]
        # In the lab's directory, and with names only: ssh splits paths at blanks, and replaces %h and ${HOME} in them.
        place = ["env", f"--chdir={self.directory.parent}"]
        return [*place, "ssh", "-F", "none", *flags, "-i", KEY, "-p", str(self.port), "root@127.0.0.1", *command]


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that nobody listens on; all are bound at once, so they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def write(vm: Vm) -> None:
    """Write the file by which a machine is known, atomically."""
    state = {field: value for field, value in msgspec.structs.asdict(vm).items() if field != "directory"}
    files.write(vm.directory / FILE, msgspec.json.encode(state, enc_hook=str))


def read(directory: Path) -> Vm:
    """The machine of a directory.

    Raises:
        Broken: it holds none, or one that cannot be read.
    """
    file = directory / FILE
    try:
        state = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        return msgspec.convert({**state, "directory": directory}, Vm, dec_hook=_path)
    except FileNotFoundError as error:
        raise Broken(f"{directory.name} is half made", f"there is no {file}") from error
    except (OSError, msgspec.DecodeError, Refused) as error:
        raise Broken(f"{directory.name} is broken", f"{file}: {error}") from error


def _path(type: type, value: str | Path) -> Path:
    return Path(value)


def seed(directory: Path, authorized: str) -> str:
    """Write a machine's seed disk (name, host key, who may log in) and return its public host key."""
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
    """Whether SSH answers within `limit` seconds, with the host key that was given to the machine."""
    command = vm.ssh("true", connect=limit)
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0


def wait(vm: Vm, limit: float = BOOT_LIMIT) -> float:
    """Wait until SSH answers and return the seconds it took.

    An attempt that comes before the machine has a network is never answered, so the first ones are short. A slow
    machine has to serve each of them to its end all the same, so later ones are longer.

    Raises:
        Failed: the machine stopped, or did not answer in time; with the end of its console.
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
    """The end of its console, and of what the program that runs it printed."""
    logs = [file for file in (vm.console, vm.log) if file.exists()]
    return "\n".join(line for file in logs for line in _last(file, 8192).splitlines()[-25:])


def _last(file: Path, size: int) -> str:
    with file.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))
        return stream.read().decode(errors="replace")
