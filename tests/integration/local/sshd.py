"""OpenSSH's own server on this machine's loopback: real keys, real channels, and a session's processes to look at.

It runs in a mount and process namespace of its own, with its own /run: what a script does there to locks and process
groups stays there, and all of it ends with one process. One server has many ports, and each is a host.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from fabfile.lab import tools
from fabfile.lab.vm import free_ports
from tests.integration.local import debian
from tests.integration.machine import until

START = """set -eu
d=$1 layers=$2 prepare=$3
shift 3
awk -F : -v OFS=: '$1 == "root" { $6 = "/run/home/root" } 1' /etc/passwd "$d/users" >"$d/etc/passwd"
grep -q ^sshd: "$d/etc/passwd" || echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin' >>"$d/etc/passwd"
mount -t overlay -o lowerdir="$d/etc:/etc" none /etc
mount -t overlay -o lowerdir="$layers:/usr" none /usr
mount -t tmpfs -o mode=755 none /run
mkdir /run/sshd /run/home /run/home/root
chmod 700 /run/home/root
touch /run/authorized_keys
mount --bind "$d/id.pub" /run/authorized_keys
while IFS=: read -r name _ id _ _ home _; do mkdir -p "$home"; chown "$id" "$home"; done <"$d/users"
eval "$prepare"
exec "$@"
"""
"""Files of the test come before those of this machine; /etc and /usr are read-only in there.

Root's home is empty: a developer's .bashrc would run at each login, and leave its locks where a session is killed.
"""

SSHD = ("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null")
OPTIONS = (
    "PidFile=none", "AuthorizedKeysFile=/run/authorized_keys", "StrictModes=no", "UsePAM=no",
    "ListenAddress=127.0.0.1", "PermitRootLogin=yes",
)  # fmt: skip
NETWORK = ("unshare", "--net")
"""In front of a server: it has a network of its own, in which only programs behind its `inside` reach it."""

FIRST_ID = 61000
"""User id of the first ordinary user."""


class Server(msgspec.Struct, frozen=True):
    """A running server."""

    directory: Path
    ports: list[int]
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        """What it said."""
        return (self.directory / "log").read_text()

    @property
    def inside(self) -> list[str]:
        """In front of a command: it is in the server's network."""
        return ["nsenter", f"--net=/proc/{self.process.pid}/ns/net"]

    def processes(self) -> list[int]:
        """All that runs in it, first the server itself."""
        first = children(self.process.pid)
        spaces = {Path(f"/proc/{pid}/ns/pid").readlink() for pid in first}
        found = list(first)
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                if (process / "ns/pid").readlink() in spaces and int(process.name) not in first:
                    found.append(int(process.name))
        return found

    def sessions(self) -> list[int]:
        """The processes of its sessions, and none of what they started."""
        return [pid for pid in self.processes()[1:] if Path(f"/proc/{pid}/comm").read_text().startswith("sshd")]

    def inventory(self, **names: int) -> Path:
        """An inventory of hosts.

        Args:
            names: of hosts → the number of the port; without any, h0, h1 and so on are all of them.
        """
        hosts = names or {f"h{number}": number for number in range(len(self.ports))}
        lines = [
            "[defaults]",
            f"known_hosts = '{self.directory / 'known'}'",
            f"identity_file = '{self.directory / 'id'}'",
            *(f"[hosts.{name}]\naddress = '127.0.0.1'\nport = {self.ports[at]}" for name, at in hosts.items()),
        ]
        file = self.directory / "hosts.toml"
        file.write_text("\n".join(lines) + "\n")
        return file


@contextmanager
def server(
    directory: Path,
    hosts: int = 1,
    options: Sequence[str] = (),
    users: Mapping[str, str] | None = None,
    others: Mapping[str, str] | None = None,
    programs: Sequence[str] = (),
    packages: Sequence[str] = (),
    etc: Mapping[str, str] | None = None,
    prepare: str = "",
    listens: str = "Server listening",
    within: Sequence[str] = (),
) -> Iterator[Server]:
    """A server that ends with all its sessions.

    Args:
        directory: an empty one, for its keys.
        hosts: how many ports it has, at most 16.
        options: more of sshd's, `MaxStartups=2`.
        users: more names of root → the shell; their home is the directory of that name.
        others: ordinary users → the shell; their home is in /run/home.
        programs: names of programs that are there and do nothing, where this machine has none of that name.
        packages: programs of `debian.PACKAGES` that are there.
        etc: more files of /etc → their content.
        prepare: lines for sh that change this namespace before the server starts, or that are another server on $ports.
        listens: what it says once for each port.
        within: in front of the server's command: NETWORK, or another server's `inside`.
    """
    _write_files(directory, users or {}, others or {}, programs, etc or {})
    layers = [directory / "usr", *(layer for name in ("sshd", *packages) for layer in debian.usr(name))]
    ports = free_ports(hosts)
    kind, key, *_ = (directory / "host.pub").read_text().split()
    (directory / "known").write_text("".join(f"[127.0.0.1]:{port} {kind} {key}\n" for port in ports))
    # Of two values of an option, sshd takes the first.
    settings = [word for option in (*options, *OPTIONS) for word in ("-o", option)]
    where = [word for port in ports for word in ("-p", str(port))]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*within, *tools.PRIVATE_MOUNTS, "--mount-proc", "sh", "-c", START, "sh",
             directory, ":".join(map(str, layers)), prepare, *SSHD, "-h", directory / "host", *where, *settings],
            env={**os.environ, "ports": " ".join(map(str, ports))},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    up = Server(directory, ports, process)
    try:
        until(lambda: process.poll() is not None or up.log.count(listens) == hosts, "does not listen", 20)
        assert process.poll() is None, up.log
        yield up
    finally:
        left = up.processes() if process.poll() is None else []
        process.kill()
        process.wait()
        until(lambda: not any(map(_runs, left)), "is left", 10)


def _write_files(
    directory: Path,
    users: Mapping[str, str],
    others: Mapping[str, str],
    programs: Sequence[str],
    etc: Mapping[str, str],
) -> None:
    """Write the server's keys, users, files of /etc, and programs that do nothing; see `server`."""
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    (directory / "etc").mkdir(exist_ok=True)
    for path, content in etc.items():
        file = directory / "etc" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(0o440)
    lines = [f"{name}:x:0:0::{directory / name}:{shell}\n" for name, shell in users.items()]
    ids = zip(others.items(), range(FIRST_ID, FIRST_ID + 99), strict=False)
    lines += [f"{name}:x:{number}:{number}::/run/home/{name}:{shell}\n" for (name, shell), number in ids]
    (directory / "users").write_text("".join(lines))
    (directory / "usr/local/sbin").mkdir(parents=True, exist_ok=True)
    for name in programs:
        if not tools.which(name):
            (directory / "usr/local/sbin" / name).symlink_to("/bin/true")


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(pid: int) -> bool:
    """Whether a process is there, and does not just end, which takes a second where it had mounts of its own."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False
