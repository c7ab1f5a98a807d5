"""What pool.status and doctor say about a pool that is full or broken."""

from __future__ import annotations

import msgspec
import pytest

from fabfile import hints
from fabfile.facts import Facts
from fabfile.facts import units as facts
from fabfile.facts.instances import Instances
from fabfile.facts.lvm import Lvm
from fabfile.facts.pool import Place, Pool
from fabfile.facts.units import Unit, Units
from fabfile.facts.volume_group import VolumeGroup
from fabfile.host import Host
from fabfile.plan import Command
from fabfile.pool import units
from fabfile.pool.health.findings import pool_findings
from fabfile.pool.loop import loop_pool
from fabfile.pool.status import describe
from fabfile.sizes import GIB, MIB
from tests.unit import typed
from tests.unit.pool import groups
from tests.unit.pool.loops import NAME, known, machine, pool, state, want
from tests.unit.steps.conftest import having

CONDITION = "/etc/systemd/system/x.d/override.conf:2: ConditionPathExists=/nonexistent"


def full(now: str, wanted: str = "queue", timeout: int = 60) -> Pool:
    found = state("out_of_data_space", when_full=now)
    assert found.table is not None
    table = msgspec.structs.replace(found.table, when_full=wanted)
    return msgspec.structs.replace(found, table=table, no_space_timeout=timeout)


@pytest.mark.parametrize(
    ("now", "result", "found", "hint"),
    [
        (state("Fail"), "fail", "fail mode", "pool.check"),
        (
            state("ro", needs_check=True),
            "fail",
            "read-only until it has been checked",
            "systemctl restart devmapper-pool@pool",
        ),
        (
            state("ro", used_meta=19200, total_meta=19200),
            "fail",
            "metadata is full (19200 of",
            "pool.grow --name pool --meta-size 150M, then restart the containers that got errors",
        ),
        (full("queue"), "fail", "writers wait, for 60 s, and then", "pool.grow --name pool --size 122880M"),
        (full("queue", timeout=0), "fail", "writers wait until there is space", "pool.grow"),
        (full("error"), "fail", "timeout has expired: writes now fail", "M, then restart the containers"),
        (full("error", "error"), "fail", "full: writes fail", "pool.grow"),
        (pool(warning="data is 85% full and cannot grow"), "warn", "85% full", "pool.grow"),
        (pool(monitor=False), "warn", "does not grow by itself", "systemctl restart devmapper-pool-monitor@pool.timer"),
    ],
)
def test_the_fix(now: Pool, result: str, found: str, hint: str) -> None:
    (said,) = pool_findings(machine(now), NAME)
    assert (said.result, found in said.found, hint in said.hint) == (result, True, True), said
    assert f"  {result.upper():9} {said.found}" in describe(NAME, machine(now))


def test_a_lack_of_room_on_the_file_system_comes_first() -> None:
    now = msgspec.structs.replace(full("queue"), place=Place("ext4", "/srv", GIB))
    (said,) = pool_findings(machine(now), NAME)
    assert said.hint.startswith("make room on /srv, which has 1.0G free, then inv pool.grow")


def test_a_direct_pool_gets_a_disk_where_its_group_has_no_room() -> None:
    def hint(extents: int) -> str:
        group = VolumeGroup("u-u-i-d", 4 * MIB, 25600, extents, 0, "wz--n-", "", ("/dev/vdb",), {})
        now = msgspec.structs.replace(full("queue"), place=None, data=None)
        on_disks = Instances(settings={NAME: groups.RECORD})
        said, *_ = pool_findings(msgspec.structs.replace(machine(now), lvm=Lvm({}, (group,)), instances=on_disks), NAME)
        return said.hint

    assert hint(5120).startswith("inv pool.grow --name pool --size 122880M;")
    assert hint(5119).startswith("inv pool.grow --name pool --device DEV --size 122880M, as its group has 20.0G free;")


def test_a_healthy_pool_and_a_missing_one_have_no_findings() -> None:
    assert pool_findings(machine(), NAME) == []
    assert pool_findings(having(), NAME) == []


def test_missing_parts_come_first_whether_the_pool_is_active_or_not() -> None:
    for now in (Pool(), msgspec.structs.replace(pool(), data=None, meta=None)):
        found = pool_findings(machine(now), NAME)
        assert [one.found for one in found][:2] == ["/srv/pool/data is gone", "/srv/pool/meta is gone"]
        assert {one.result for one in found} == {"fail"}


@pytest.mark.parametrize("now", [pool(), state("ro", needs_check=True), Pool(data=pool().data, meta=pool().meta)])
def test_files_that_cannot_be_written_come_first(now: Pool) -> None:
    """A pool is up until it writes, and then its metadata seems to be damaged."""
    on = Place("ext4", "/", 500 * GIB, read_only=True)
    with hints.entered(Host(name="a")):
        said, *more = pool_findings(machine(msgspec.structs.replace(now, place=on)), NAME)
    assert typed.wrong(said.hint) == []
    assert said.found.startswith("/srv/pool/data cannot be written: the file system at / takes no writes")
    assert "mount -o remount,rw / && systemctl restart devmapper-pool@pool.service" in said.hint
    assert all(not one.hint.startswith("make room") for one in more)


def test_a_file_needed_at_boot_is_named_with_the_command_that_writes_it() -> None:
    for path in (units.SCRIPT, units.unit_path(NAME), *units.monitor_paths(NAME)):
        whole = machine()
        have = msgspec.structs.replace(whole, files={of: file for of, file in whole.files.items() if of != path})
        (said,) = pool_findings(have, NAME)
        assert (said.what, said.found) == (
            "pool at boot",
            f"{path} is missing: the pool would not start at the next boot",
        )
        assert said.hint.startswith("inv pool.loop ")
        assert typed.wrong(said.hint) == []


@pytest.mark.parametrize(
    "have",
    [
        machine(Pool()),
        machine(state("ro")),
        machine(state("ro", needs_check=True)),
        msgspec.structs.replace(machine(), files={units.conf(NAME): machine().files[units.conf(NAME)]}),
        msgspec.structs.replace(machine(), units=Units({units.unit(NAME): Unit(active="inactive", skipped=CONDITION)})),
    ],
)
def test_what_is_to_be_typed_on_the_host_is_told_from_what_is_for_the_controller(have: Facts) -> None:
    with hints.entered(Host(name="a")):
        found = pool_findings(have, NAME)
    assert found and not [wrong for one in found for wrong in typed.wrong(one.hint)]


@pytest.mark.parametrize("kept", ["", "unit", "file", "mount"])
def test_a_removal_that_was_interrupted_is_not_called_a_loss(kept: str) -> None:
    place = Place("ext4", "/elsewhere" if kept == "mount" else "/", 500 * GIB)
    data = pool().data if kept == "file" else None
    have = machine(Pool(place=place, data=data))
    have = msgspec.structs.replace(have, pool=msgspec.structs.replace(have.pool, enabled=False))
    files = {path: file for path, file in have.files.items() if kept == "unit" or path == units.conf(NAME)}
    have = known(msgspec.structs.replace(have, files=files), MOUNT="/")
    found = pool_findings(have, NAME)
    if kept:
        assert all("removal" not in one.found for one in found) and found
        return
    (said,) = found
    assert said.found.endswith("its removal was interrupted")
    assert said.hint == f"to finish that: inv pool.reset --name {NAME} --yes"


def test_a_masked_unit_is_not_reported_as_missing() -> None:
    whole, timer = machine(), units.monitor(NAME)
    have = msgspec.structs.replace(
        whole,
        files={of: file for of, file in whole.files.items() if not of.endswith(timer)},
        units=Units({timer: Unit("masked")}),
    )
    (said,) = pool_findings(have, NAME)
    assert said.hint == f"systemctl unmask {timer}"


@pytest.mark.parametrize(
    ("unit", "now"),
    [
        (units.unit(NAME), Pool()),
        (units.unit(NAME), pool()),
        (units.monitor(NAME), pool()),
        (units.monitor_service(NAME), pool()),
    ],
)
def test_a_condition_that_keeps_a_unit_from_starting_is_named(unit: str, now: Pool) -> None:
    have = msgspec.structs.replace(machine(now), units=Units({unit: Unit(active="inactive", skipped=CONDITION)}))
    (said,) = (one for one in pool_findings(have, NAME) if CONDITION in one.found)
    assert (
        said.result == "fail"
        and "remove or meet that condition; then systemctl daemon-reload && systemctl " in said.hint
    )
    runs = msgspec.structs.replace(have, units=Units({unit: Unit(active="active", skipped=CONDITION)}))
    assert not [one for one in pool_findings(runs, NAME) if CONDITION in one.found]


@pytest.mark.parametrize(
    ("free", "growth", "warned"),
    [
        (500 * GIB, (80, 20), False),
        (120 * GIB, (80, 20), False),
        (19 * GIB, (80, 20), True),
        (21 * GIB, (80, 20), False),
        (11 * GIB, (100, 20), False),
        (9 * GIB, (100, 20), True),
    ],
)
def test_the_remaining_room_is_reported_if_it_is_less_than_a_growth_step(
    free: int, growth: tuple[int, int], warned: bool
) -> None:
    have = machine(pool(place=Place("ext4", "/srv", free)), threshold=growth[0], percent=growth[1])
    found = pool_findings(have, NAME)
    assert [one.what for one in found] == (["room under the pool"] if warned else [])
    if warned:
        assert found[0].result == "warn"
        assert "before /srv is full" in found[0].found


def test_a_unit_that_systemd_cannot_read_is_read_again() -> None:
    unread = msgspec.structs.replace(machine(), units=Units({units.unit(NAME): Unit("error", "active", "success")}))
    (said,) = pool_findings(unread, NAME)
    assert said.hint.startswith("systemctl daemon-reload && systemctl start ")
    (change,) = loop_pool.plan(unread, want(), None)
    assert isinstance(change, Command)
    assert change.script == "systemctl daemon-reload"


def test_a_restore_that_was_interrupted_is_named_with_its_backup() -> None:
    shown = facts.parse("uptime 9\nunfinished /b/1 2.xml.gz\n")
    have = msgspec.structs.replace(
        machine(), units=msgspec.structs.replace(machine().units, unfinished=shown.unfinished)
    )
    (one,) = [each for each in pool_findings(have, NAME) if each.what == "containerd's databases"]
    assert one.result == "fail" and "was being restored from /b/1 2.xml.gz" in one.found
    assert one.hint == "inv pool.restore --name pool --yes" and typed.wrong(one.hint) == []
