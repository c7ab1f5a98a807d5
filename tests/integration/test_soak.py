"""Power cuts and reboots while containers write to both kinds of pool; nothing that was
acknowledged may be missing. Two rounds by default; `nox -s soak` does twenty.

What a cut takes is all that the machine had in memory. What it had written to its disk stays there, whether it was
flushed or not: the disk's own cache, which a real cut takes too, is this machine's.
"""

from __future__ import annotations

import hashlib
import random
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.integration.machine import Machine

INSTANCE = "soak"
DIRECT = f"--instance {INSTANCE} --variant direct --device /dev/disk/by-id/virtio-lab-disk".split()
UNITS = "containerd containerd-soak devmapper-pool@containerd-pool devmapper-pool@containerd--soak-thinpool"

LEAST = 16384
"""Characters of a record: several blocks of the container's file system."""

WRITE = f"""
set -e
busybox mkdir -p /r; sync /
n=$(busybox ls /r | busybox sort -n | busybox tail -n 1)
while :; do
  n=$((n + 1)) s="$n "
  while [ ${{#s}} -lt {LEAST} ]; do s=$s$s; done
  echo "$s" >/r/$n
  sync /r/$n /r
  echo $n
done
"""
"""The container: one file a record, whose number it says once file and name are on the disk. The sync of
busybox is an fsync of each file that is named."""

SECONDS = 180
"""For a boot's services to be up, and for records to come, on two busy cores."""


def record(number: int) -> str:
    """The SHA-256 of a record as the container writes it."""
    text = f"{number} "
    while len(text) < LEAST:
        text += text
    return hashlib.sha256(f"{text}\n".encode()).hexdigest()


@dataclass
class Writer:
    """A container that writes records, and those that it acknowledged over all of its lives."""

    machine: Machine
    ctr: str
    name: str
    """The container's. runc keeps all of a machine's containers by their names, whichever containerd they are of."""
    file: Path
    acknowledged: set[int] = field(default_factory=set)
    process: subprocess.Popen[bytes] | None = None

    def create(self, registry: str) -> None:
        """Pull its image and create it."""
        image = f"{registry}/library/busybox:latest"
        self.machine.ssh(f"{self.ctr} images pull --plain-http --snapshotter devmapper {image}")
        # Without the two hyphens ctr would take the shell's option for its own.
        create = f"{self.ctr} containers create --snapshotter devmapper -- {image} {self.name}"
        self.machine.ssh(f"{create} sh -c {shlex.quote(WRITE)}")

    def start(self) -> None:
        """Continue after the last record on its disk."""
        with self.file.open("wb") as out:
            command = self.machine.vm.ssh(f"exec {self.ctr} tasks start {self.name} </dev/null")
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def said(self) -> list[int]:
        """The writes it acknowledged since it was started."""
        whole = self.file.read_text().rpartition("\n")[0]
        return [int(line) for line in re.findall(r"^\d+$", whole, re.MULTILINE)]

    def wait_for(self, records: int) -> None:
        """Wait until it has acknowledged this many records since it was started."""
        begin = monotonic()
        while len(self.said()) < records:
            assert self.process is not None and self.process.poll() is None, self.file.read_text()
            assert monotonic() - begin < SECONDS, f"{self.name}: {len(self.said())} records"
            sleep(0.05)

    def end(self) -> None:
        """Keep its output, since its machine is gone. The connection does not notice a reboot."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.acknowledged.update(self.said())

    def verify(self) -> int:
        """Every acknowledged record is there with its content; return how many are there that were not."""
        listing = self.machine.in_snapshot(self.name, "cd r; sha256sum *", self.ctr)
        there = {int(name): digest for digest, name in (line.split() for line in listing.splitlines())}
        lost = [number for number in sorted(self.acknowledged) if there.get(number) != record(number)]
        assert lost == [], f"{self.name}: of {len(self.acknowledged)} acknowledged records these are lost: {lost}"
        return len(there) - len(self.acknowledged)


@pytest.fixture(scope="module")
def writers(deployed: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Writer]]:
    """A container on a loop pool, and one of a second containerd on a direct pool of the same machine."""
    deployed.fab("deploy", *DIRECT)
    directory = tmp_path_factory.mktemp("soak")
    hosts = tomllib.loads((deployed.vm.directory.parent / "hosts.toml").read_text())
    two = f"ctr --address /run/containerd-{INSTANCE}/containerd.sock"
    writers = [Writer(deployed, ctr, name, directory / name) for ctr, name in (("ctr", "loop"), (two, "direct"))]
    for writer in writers:
        writer.create(hosts["defaults"]["registry"].removeprefix("http://"))
    yield writers
    for writer in writers:
        writer.end()


def come_back(machine: Machine) -> None:
    """Booting the machine brings its pools and containerds up before any task runs."""
    begin = monotonic()
    while "inactive" in (states := machine.ssh(f"systemctl is-active {UNITS}", code=None)) or "activating" in states:
        assert monotonic() - begin < SECONDS, states
        sleep(1)
    assert states.split() == ["active"] * 4, states
    for pool in ("containerd-pool", "containerd--soak-thinpool"):
        status = machine.ssh(f"dmsetup status {pool}")
        assert " rw " in status and " needs_check " not in status, status


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each loss of power and each reboot, so that rounds are reported as they go."""
    if "number" in metafunc.fixturenames:
        rounds = range(1, int(metafunc.config.getoption("--rounds")) + 1)
        metafunc.parametrize(("number", "how"), [(n, how) for n in rounds for how in ("power_cut", "reboot")])


def test_nothing_acknowledged_is_lost(
    writers: list[Writer], number: int, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = writers[0].machine
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.wait_for(random.randint(1, 12))
    getattr(machine, how)()
    for writer in writers:
        writer.end()
    come_back(machine)
    more = [writer.verify() for writer in writers]
    with capsys.disabled():
        kept = " and ".join(str(len(writer.acknowledged)) for writer in writers)
        print(f" {kept} acknowledged records are there, and {sum(more)} more", end=" ")


def test_a_deploy_finds_nothing_to_repair(writers: list[Writer]) -> None:
    for options in ([], DIRECT):
        assert "ok 1  changed 0" in writers[0].machine.fab("deploy", *options)
