"""Full pools, of data and of metadata: what happens, what is reported, and that the remedy named in the report works.

docs/full-pools.md tells it; a change here is one there. The tests build on each other.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from fabfile import sizes
from fabfile.pool.limits import META_BLOCK
from tests.integration import writer
from tests.integration.case import Case, started_with
from tests.integration.golden import Golden
from tests.integration.machine import until

POOL = """
[defaults.pool]
size = "96M"
base_image_size = "512MB"
threshold = 100
when_full = "error"
"""

TIMEOUT = "/sys/module/dm_thin_pool/parameters/no_space_timeout"


@pytest.fixture(scope="module")
def case(
    request: pytest.FixtureRequest, suite: str, golden: Golden, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    """A machine with a small loop pool that does not grow by itself."""
    inventory = tmp_path_factory.mktemp("full") / "hosts.toml"
    with started_with(request, suite, golden, inventory, POOL) as case:
        yield case


@pytest.fixture(scope="module")
def busy(case: Case) -> writer.Writer:
    """A container that writes until it cannot."""
    return writer.start(case.machine, "busy")


def mode(case: Case) -> str:
    """The mode of the pool (rw, ro, out_of_data_space) in the kernel's status line."""
    return case.machine.ssh("dmsetup status containerd-pool").split()[7]


def way_out(case: Case, busy: writer.Writer, what: str) -> str:
    """Check that doctor and pool.status report `what`, apply the remedy that they name, and return their output."""
    busy.slow()
    assert what in case.fab("doctor", code=1)
    said = re.search(rf"FAIL +{re.escape(what)}.*\n.*→ (.*)", case.fab("pool.status"))
    assert said, what
    commands = re.match(r"fab -H \S+ (pool\.grow [^,;]*)", said[1])
    assert commands, said[1]
    assert "changed 1" in case.fab(*shlex.split(commands[1]))
    assert mode(case) == "rw"
    return said[1]


def goes_on(busy: writer.Writer) -> None:
    """The container writes again, and everything it ever synced is still there."""
    busy.reaches(busy.written + 2, 60)
    assert busy.lost() == ""


def test_a_full_pool_may_give_errors_at_once(case: Case, busy: writer.Writer) -> None:
    until(lambda: busy.failed > 0, "did not fail", 180)
    assert mode(case) == "out_of_data_space"
    said = way_out(case, busy, "its data is full: writes fail")
    assert "then restart the containers that got errors; or remove images and containers" in said
    # Newer kernels pass the pool's own error on: the container's file system has room for five times as much.
    assert re.search("Input/output error|Read-only file system|No space left on device", busy.errors)
    busy.restart()
    goes_on(busy)


def test_a_full_pool_may_let_writers_wait(case: Case, busy: writer.Writer) -> None:
    case.inventory.write_text(case.inventory.read_text().replace('when_full = "error"', 'when_full = "queue"'))
    assert "writes to a full pool wait for space" in case.fab("deploy")
    busy.restart()
    busy.hurry()
    before = busy.failed
    timeout = case.machine.ssh(f"cat {TIMEOUT}; echo 300 >{TIMEOUT}")  # on a busy machine this may take longer
    assert timeout == "60\n"
    until(lambda: mode(case) == "out_of_data_space", "is not full", 180)
    assert "restart" not in way_out(case, busy, "its data is full: writers wait, for 300 s, and then get errors")
    busy.reaches(busy.written + 1, 60)
    assert busy.failed == before
    # Then, again, nobody comes in time; a test does not wait a minute.
    busy.hurry()
    case.machine.ssh(f"echo 3 >{TIMEOUT}")
    until(lambda: busy.failed > before, "did not fail", 180)
    assert "then restart" in way_out(case, busy, "its data is full: the queue timeout has expired: writes now fail")
    busy.restart()
    goes_on(busy)


def test_removing_containers_frees_a_full_pool(case: Case, busy: writer.Writer) -> None:
    case.machine.ssh(f"echo 300 >{TIMEOUT}")
    case.machine.ssh("ctr containers create --snapshotter devmapper $(ctr images ls -q | grep busybox) idle")
    case.machine.in_snapshot("idle", "dd if=/dev/urandom of=file bs=1M count=16 conv=fsync status=none")
    busy.restart()
    busy.hurry()
    before = busy.failed
    until(lambda: mode(case) == "out_of_data_space", "is not full", 180)
    written = busy.written
    case.machine.ssh("ctr containers rm idle")
    busy.reaches(written + 5, 60)
    assert busy.failed == before
    case.fab("pool.grow", "--size", "400M")
    goes_on(busy)
    assert busy.failed == before
    busy.remove()


FILL = """
i=$FROM left=$((LEAVE + 1)) m=''
until [ "$left" -le "$LEAVE" ] || [ "$m" = ro ] || ! dmsetup message containerd-pool 0 "create_thin $i"; do
  i=$((i + 1))
  # Only what a device writes makes the pool look at what it has left.
  if [ $((i % 8)) -eq 0 ]; then set -- $(dmsetup status containerd-pool); left=$((${5#*/} - ${5%/*})) m=$8; fi
done
"""
"""Empty devices fill metadata, but for `LEAVE` blocks, with the least of data: a block of it each."""


def test_metadata_may_fill_up(case: Case) -> None:
    case.machine.ssh(f"FROM=1000000 LEAVE=72; {FILL}")
    busy = writer.start(case.machine, "metadata")
    case.machine.ssh(f"FROM=2000000 LEAVE=0; {FILL}")
    until(lambda: busy.failed > 0, "did not fail", 120)
    assert mode(case) == "ro"
    said = way_out(case, busy, "its metadata is full (")
    blocks = int(case.machine.ssh("dmsetup status containerd-pool").split()[4].partition("/")[2])  # doubled by now
    asked = sizes.show(blocks * META_BLOCK)
    assert re.search(rf"pool.grow .*--meta-size {asked}, then restart the containers that got errors", said)
    assert "No space left" not in busy.errors  # in the container's own file system, that is
    busy.restart()
    goes_on(busy)
    assert "ok 1  changed 0" in case.fab("deploy")
