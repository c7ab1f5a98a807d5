"""Measurements without the other peers: hosts that sleep, a long known_hosts, uploads, and round trips."""

from __future__ import annotations

import base64
import random
import sys
from collections.abc import Iterator

from bench.fleet.figures import Row, rows
from bench.fleet.slow_line import line
from bench.fleet.targets import ADDRESS, Fleet
from bench.fleet.tools import OPENSSH, OURS, Setting, Way, fab, run

SLEEP = 20
"""In seconds."""

LINES = 100_000

SIZE = 40 << 20
"""Bytes of a file to upload."""

UPLOADS = "bench.fleet.with_fab_upload"
UPLOAD = "upload"

DELAY = 0.3
"""Seconds that a round trip takes on the slow line."""

TRIPS, TRIPS_GATEWAY = "round trips", "round trips, gateway"
WAIT, KNOWN, KNOWN_LONG, KNOWN_HASHED = "wait", "known_hosts", "known_hosts, long", "known_hosts, long and hashed"


def wait(of: Setting) -> Iterator[Row]:
    """Yield the cost of hosts that sleep, all at the same time."""
    way = Way(WAIT, OURS, fab("run", "--command", f"sleep {SLEEP}"))
    yield from rows(1, WAIT, OURS, of.size, run(way, of._replace(at_once=of.size)))


def known_hosts(of: Setting, rounds: int) -> Iterator[Row]:
    """Yield the cost of one command with the hosts' own keys alone, and with those keys behind many others."""
    names = {KNOWN: "known", KNOWN_LONG: _long(of.fleet, hashed=False), KNOWN_HASHED: _long(of.fleet, hashed=True)}
    for number in range(1, rounds + 1):
        for job, known in names.items():
            way = Way(job, OURS, fab("run", "--command", "true"))
            yield from rows(number, job, OURS, of.size, run(way, of, known))


def upload(of: Setting, rounds: int) -> Iterator[Row]:
    """Yield the cost of uploading a file of `SIZE` bytes to all hosts at the same time, by fab and by scp."""
    of = of._replace(at_once=of.size)
    file = of.fleet.directory / "file"
    file.write_bytes(random.Random(SIZE).randbytes(SIZE))
    scp = ["xargs", "-a", str(of.fleet.names(of.size)), "-P", str(of.size), "-I", "{}"]
    scp += ["scp", "-q", "-F", str(of.fleet.ssh_config())]
    ours = [sys.executable, "-m", UPLOADS, "-H", "hosts", "upload", "--file", str(file)]
    ways = (
        Way(UPLOAD, OURS, lambda _: ours),
        Way(UPLOAD, OPENSSH, lambda _: [*scp, str(file), "{}:/var/tmp/{}"]),
    )
    for number in range(1, rounds + 1):
        for way in ways:
            yield from rows(number, UPLOAD, way.tool, of.size, run(way, of))


def round_trips(of: Setting) -> Iterator[Row]:
    """Yield the round trips from the connection to the answer for a converged host, directly and through a gateway.

    They are what a slow line costs, divided by its delay; one more is TCP's own, as the line accepts at once.
    """
    one = of._replace(size=1)
    way = Way(TRIPS, OURS, fab("packages", hosts="h0"))
    for job, gateway in ((TRIPS, False), (TRIPS_GATEWAY, True)):
        walls = []
        for seconds in (0, DELAY):
            with line(of.fleet.ports[0], seconds) as port:
                walls.append(run(way, one, _behind(one, port, gateway=gateway)).wall)
        yield Row(1, job, OURS, 1, "round trips", "", (walls[1] - walls[0]) / DELAY + 1)


def _behind(of: Setting, port: int, *, gateway: bool) -> str:
    """Write an inventory and host keys for the first host behind a port of the line, and return their name.

    Args:
        of: what the tools are given.
        port: port of the line.
        gateway: whether the first host is only the gateway to the second.
    """
    first, second = of.fleet.ports[:2]
    known = (of.fleet.directory / "known").read_text()
    name = f"line-{port}"
    of.fleet.file(name, known + known.replace(f"]:{first} ", f"]:{port} "))
    place = f"address = '{ADDRESS}'\nport"
    hosts = f"[hosts.gate]\n{place} = {port}\n[hosts.h0]\ngateway = 'gate'\n{place} = {second}\n"
    text = hosts if gateway else f"[hosts.h0]\n{place} = {port}\n"
    directory = of.fleet.directory
    defaults = f"[defaults]\nknown_hosts = '{directory / name}'\nidentity_file = '{directory / 'id'}'\n"
    of.fleet.file(f"{name}-{of.size}-{of.at_once}.toml", defaults + text)
    return name


def _long(fleet: Fleet, *, hashed: bool) -> str:
    """Write a file with the keys of many other hosts, followed by ours; return its name."""
    made = random.Random(LINES)

    def key_line(number: int) -> str:
        key = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + made.randbytes(32)).decode()
        salt, digest = (base64.b64encode(made.randbytes(20)).decode() for _ in range(2))
        name = f"|1|{salt}|{digest}" if hashed else f"host-{number}.example,198.18.{number >> 8 & 255}.{number & 255}"
        return f"{name} ssh-ed25519 {key}\n"

    name = "known-hashed" if hashed else "known-long"
    # In pieces, as our own memory would count as that of the processes that we start.
    with (fleet.directory / name).open("w") as file:
        file.writelines(map(key_line, range(LINES)))
        file.write((fleet.directory / "known").read_text())
    return name
