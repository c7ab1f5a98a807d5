"""What only our tool is measured with: hosts that sleep, and a long file of known host keys."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator

from bench.fleet.figures import Row, rows
from bench.fleet.targets import Fleet
from bench.fleet.tools import OURS, Setting, Way, fab, run

SLEEP = 20
"""In seconds."""

LINES = 100_000

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


def _long(fleet: Fleet, *, hashed: bool) -> str:
    """Write a file with the keys of many other hosts, followed by ours; return its name."""
    made = random.Random(LINES)

    def line(number: int) -> str:
        key = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + made.randbytes(32)).decode()
        salt, digest = (base64.b64encode(made.randbytes(20)).decode() for _ in range(2))
        name = f"|1|{salt}|{digest}" if hashed else f"host-{number}.example,198.18.{number >> 8 & 255}.{number & 255}"
        return f"{name} ssh-ed25519 {key}\n"

    name = "known-hashed" if hashed else "known-long"
    # In pieces, as our own memory would count as that of the processes that we start.
    with (fleet.directory / name).open("w") as file:
        file.writelines(map(line, range(LINES)))
        file.write((fleet.directory / "known").read_text())
    return name
