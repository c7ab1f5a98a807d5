"""OpenSSH's own server on this machine's loopback: real keys, real channels, and a session's processes to look at.

It runs in a mount and process namespace of its own, with its own /run: what a script does there to locks and process
groups stays there, and all of it ends with one process. One server has many ports, and each is a host.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from fabfile import paths
from fabfile.lab import store, tools
from fabfile.lab.vm import free_ports
from tests.integration.machine import until

PACKAGES = ("openssh-server", "libwrap0")
"""Where it is not installed: then a server of this machine's own would start, too, and listen to everybody."""

FETCH = f"""set -eu
cd "$1"
apt-get download -q -o APT::Sandbox::User=root {" ".join(PACKAGES)}
for package in *.deb; do dpkg-deb -x "$package" .; rm "$package"; done
"""

START = """set -eu
d=$1 program=$2 libraries=$3
shift 3
cat /etc/passwd "$d/users" >"$d/passwd"
mount --bind "$d/passwd" /etc/passwd
mount -t tmpfs none /run
mkdir /run/sshd
[ ! -d "$d/sbin" ] || mount --bind "$d/sbin" /usr/local/sbin
grep -q ^sshd: /etc/passwd || echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin' >>"$d/passwd"
export LD_LIBRARY_PATH="$libraries"
exec "$program" -D -e -f /dev/null -h "$d/host" -o PidFile=none -o AuthorizedKeysFile="$d/id.pub" -o StrictModes=no \
  -o UsePAM=no -o ListenAddress=127.0.0.1 -o PermitRootLogin=yes "$@"
"""


class Server(msgspec.Struct, frozen=True):
    """A running server."""

    directory: Path
    ports: list[int]
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        """What it said."""
        return (self.directory / "log").read_text()

    def sessions(self) -> list[int]:
        """The processes of its sessions, and none of what they started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        space = {Path(f"/proc/{child}/ns/pid").readlink() for child in children}
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                if (process / "ns/pid").readlink() in space and (process / "comm").read_text().startswith("sshd"):
                    found.append(int(process.name))
        return [pid for pid in found if str(pid) not in children]

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


def _program() -> tuple[Path, str]:
    """The server, and where libraries are that it needs and this machine lacks."""
    if found := tools.which("sshd"):
        return Path(found), ""
    wanted = paths.cache() / "sshd" / subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()

    def make(part: Path, log: Path) -> None:
        tools.run("sh", "-c", FETCH, "sh", part, log=log)

    store.find(wanted, make)
    libraries = {str(file.parent) for file in wanted.rglob("lib*.so*")}
    return wanted / "usr/sbin/sshd", ":".join(sorted(libraries))


@contextmanager
def server(
    directory: Path,
    hosts: int = 1,
    options: Sequence[str] = (),
    users: Mapping[str, str] | None = None,
    programs: Sequence[str] = (),
) -> Iterator[Server]:
    """A server that ends with all its sessions.

    Args:
        directory: an empty one, for its keys.
        hosts: how many ports it has, at most 16.
        options: more of sshd's, `MaxStartups=2`.
        users: more names of root → the shell; their home is the directory of that name.
        programs: names of programs that are there and do nothing, where this machine has none of that name.
    """
    program, libraries = _program()
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    lines = [f"{name}:x:0:0::{directory / name}:{shell}\n" for name, shell in (users or {}).items()]
    (directory / "users").write_text("".join(lines))
    for name in users or {}:
        (directory / name).mkdir(exist_ok=True)
    for name in programs:
        if not tools.which(name):
            (directory / "sbin").mkdir(exist_ok=True)
            (directory / "sbin" / name).symlink_to("/bin/true")
    ports = free_ports(hosts)
    kind, key, *_ = (directory / "host.pub").read_text().split()
    (directory / "known").write_text("".join(f"[127.0.0.1]:{port} {kind} {key}\n" for port in ports))
    settings = [word for option in options for word in ("-o", option)]
    where = [word for port in ports for word in ("-p", str(port))]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*tools.PRIVATE_MOUNTS, "--mount-proc", "sh", "-c", START, "sh", directory, program, libraries,
             *where, *settings],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        up = Server(directory, ports, process)
        until(lambda: up.log.count("Server listening") == hosts, "does not listen", 20)
        yield up
    finally:
        process.kill()
        process.wait()
