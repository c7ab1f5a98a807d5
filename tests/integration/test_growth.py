"""Pools grow under a container that writes, by pool.grow and by themselves, and nothing that it synced is lost.

First a loop pool, then a direct one on the same machine; the tests build on each other.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration import writer
from tests.integration.case import SMALL_DIRECT, Case, started_with
from tests.integration.golden import Golden
from tests.integration.machine import until

TIMER = "devmapper-pool-monitor@containerd-pool.timer"
MONITOR = "devmapper-pool-monitor@containerd-pool.service"
NO_SPACE_TIMEOUT = "/sys/module/dm_thin_pool/parameters/no_space_timeout"
KILLER = "/usr/local/sbin/dmsetup"
"""A dmsetup found before the real one: it kills the process that reloads a table just before the reload."""

POOL = """
[defaults.pool]
size = "128M"
base_image_size = "512MB"
threshold = 100
"""

GROWING = """
threshold = 80
percent = 25
max_size = "220M"
"""


@pytest.fixture(scope="module")
def case(
    request: pytest.FixtureRequest, suite: str, golden: Golden, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    """A machine with a small loop pool."""
    with started_with(request, suite, golden, tmp_path_factory.mktemp("growth") / "hosts.toml", POOL) as case:
        yield case


def total(case: Case, device: str = "containerd-pool") -> tuple[int, int]:
    """The total data and metadata blocks, as the kernel reports them."""
    words = case.machine.ssh(f"dmsetup status {device}").split()
    return int(words[5].partition("/")[2]), int(words[4].partition("/")[2])


@pytest.fixture(scope="module")
def busy(case: Case) -> writer.Writer:
    """A container that writes to the pool all the time."""
    return writer.start(case.machine, "busy", pace=3)


def test_a_pool_grows_under_a_container_and_never_shrinks(case: Case, busy: writer.Writer) -> None:
    said = case.fab("pool.grow", "--size", "144M", "--meta-size", "5M")
    assert "data 128M → 144M; metadata 4M → 5M" in said
    assert 'set size = "144M", meta_size = "5M"' in said
    assert total(case) == (144 * 16, 5 * 256)
    assert "ok 1  changed 0" in case.fab("pool.grow", "--size", "144M", "--meta-size", "5M")
    assert "it has 144M, requested: 130M" in case.fab("pool.grow", "--size", "130M", code=2)
    assert "it has 5M, requested: 2M" in case.fab("pool.grow", "--meta-size", "2M", code=2)
    busy.reaches(busy.written + 1)


def test_two_concurrent_growths_run_one_after_the_other(case: Case) -> None:
    def grow(*args: str) -> str:
        said = case.fab("pool.grow", *args, code=None)
        # On a slow machine the one lasts longer than the other waits.
        return case.fab("pool.grow", *args) if "another operator is changing the host" in said else said

    with ThreadPoolExecutor() as both:
        said = list(both.map(grow, ("--size", "--meta-size"), ("160M", "6M")))
    assert all("changed 1" in one for one in said), said
    assert total(case) == (160 * 16, 6 * 256)


def test_what_was_interrupted_is_finished_by_a_deploy(case: Case) -> None:
    case.machine.ssh(f"systemctl stop {TIMER}")  # else it would be faster
    case.machine.ssh(
        f"printf '#!/bin/sh\\ncase $1 in reload) kill -9 $PPID;; esac\\nexec /usr/sbin/dmsetup \"$@\"\\n' >{KILLER};"
        f" chmod +x {KILLER}"
    )
    assert "Killed" in case.fab("pool.grow", "--size", "168M", code=1)
    case.machine.ssh(f"rm {KILLER}")
    assert case.machine.ssh("stat -c %s /var/lib/containerd/devmapper/data").strip() == str(168 << 20)
    assert total(case) == (160 * 16, 6 * 256)
    assert "the pool does not grow by itself" in case.fab("pool.status")
    said = case.fab("deploy")
    assert "the pool's units, now and at every boot" in said and "finish growing the pool" in said
    assert total(case) == (168 * 16, 6 * 256)


def test_a_length_that_was_not_yet_synced_is_before_the_pool_counts_on_it(case: Case) -> None:
    sync = "/usr/local/sbin/sync"
    case.machine.ssh(f"systemctl stop {TIMER}")
    for before, code in (("kill -9 $PPID", 1), ("echo $* >>/root/synced", 0)):
        kills = f'#!/bin/sh\ncase $* in */data*) {before} ;; esac\nexec /bin/sync "$@"\n'
        case.machine.ssh(f"printf %s {shlex.quote(kills)} >{sync}; chmod +x {sync}")
        case.fab("pool.grow", "--size", "172M", code=code)
    assert "devmapper/data" in case.machine.ssh(f"cat /root/synced; rm /root/synced {sync}")
    assert total(case) == (172 * 16, 6 * 256)
    case.fab("deploy")


def test_the_timer_lets_it_grow_before_it_is_full(case: Case, busy: writer.Writer) -> None:
    case.machine.ssh(f"echo 300 >{NO_SPACE_TIMEOUT}")  # on a busy machine this test may take longer than 60 s
    case.inventory.write_text(case.inventory.read_text().replace("threshold = 100\n", GROWING))
    assert "settings of the pool" in case.fab("deploy")
    begin = case.machine.ssh("date +%s").strip()
    busy.hurry()

    def full() -> bool:
        """Full at its maximum size; before that, a pool may be full only until the monitor looks again."""
        return total(case)[0] == 220 * 16 and "out_of_data" in case.machine.ssh("dmsetup status containerd-pool")

    until(full, "is not full", 180)

    def said_by_monitor() -> str:
        case.machine.ssh(f"systemctl start {MONITOR}; journalctl --sync")
        return case.machine.ssh(f"journalctl -q -o cat -u {MONITOR} --since @{begin}")

    warning = r"data is \d+% full and cannot grow: it has reached its maximum size"
    # The start may only have waited for a run that began before the pool was full.
    until(lambda: re.search(warning, said_by_monitor()), "did not warn", 30)
    said = said_by_monitor()
    sizes = re.findall(r"containerd-pool: (\d+) MiB of data, 6 MiB of metadata", said)
    # 172 and a quarter of it, or straight to the maximum, where it was filled faster than it is looked at.
    assert sizes in (["215", "220"], ["220"]), said
    assert total(case)[0] == 220 * 16
    for task, code in (("pool.status", 0), ("doctor", 1)):
        assert "its data is full: writers wait, for 300 s" in case.fab(task, code=code)
    written = busy.written
    said = case.fab("pool.grow", "--size", "480M")  # a maximum is for what happens by itself
    assert 'set size = "480M", max_size = "480M"' in said
    busy.reaches(written + 1, 60)
    assert busy.failed == 0


def test_a_pool_without_room_on_its_file_system_warns(case: Case, busy: writer.Writer) -> None:
    case.machine.ssh(
        "touch /run/writer/stop; fallocate -l $(($(df -B1 --output=avail / | tail -n1) - (300 << 20))) /ballast"
    )
    case.machine.ssh(f"systemctl start {MONITOR}")
    for task in ("pool.status", "doctor"):
        assert re.search(r"its file system has only \d+ MiB free; once that is full, writes fail", case.fab(task))
    case.machine.ssh(f"rm /ballast; systemctl start {MONITOR}; journalctl --sync")
    assert "back to normal" in case.machine.ssh(f"journalctl -q -o cat -u {MONITOR}")
    assert "its file system" not in case.fab("pool.status")


def test_nothing_that_was_synced_is_lost(case: Case, busy: writer.Writer) -> None:
    assert busy.written > 50
    assert busy.lost() == ""
    assert "ok 1  changed 0" in case.fab("deploy")


def test_dmeventd_lets_a_direct_pool_grow_before_it_is_full(case: Case, busy: writer.Writer) -> None:
    busy.remove()
    case.fab("pool.reset", "--yes")
    direct = Case(case.machine, case.inventory, SMALL_DIRECT)
    assert "at 60% used it grows by 50%" in direct.fab("deploy")
    before, _ = total(direct, "containerd-thinpool")
    fills = writer.start(direct.machine, "fills")
    until(lambda: total(direct, "containerd-thinpool")[0] > before, "did not grow", 180)
    fills.reaches(fills.written + 5)
    assert fills.lost() == ""
    assert fills.failed == 0
    size = direct.machine.ssh("lvs --noheadings --nosuffix --units m -o lv_size containerd/thinpool")
    assert float(size) / 4 in (77, 116), f"51 extents, once or twice half as many more, rounded up: {size}"
    assert "cannot shrink" in direct.fab("pool.grow", "--size", "204M", code=2)
    assert "ok 1  changed 0" in direct.fab("deploy")
    fills.remove()
