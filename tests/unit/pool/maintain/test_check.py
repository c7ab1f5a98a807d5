"""pool.check from end to end: what it queries, and its verdict."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile import sizes
from fabfile.pool.maintain.check import Checked
from tests.unit.pool import groups
from tests.unit.pool.loops import NAME
from tests.unit.pool.machines import POOLS, Make, both, done, full, on_disks, on_files, trouble, with_status, without

LIVE = "a snapshot of its live metadata"


@both
def test_sound_metadata_is_a_result_and_changes_nothing(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says={"thin_check": f"@ids 0 0\n@checked 0 {LIVE}"})
    report = done("pool.check", c)
    assert c.done == [f"thin_check of the pool {name}"]
    assert (report.status, report.result) == ("ok", Checked(name, True, LIVE))
    assert [step.status for step in report.steps] == ["ok"], "it is no change"


@both
def test_damaged_metadata_fails_with_the_output_of_thin_check_and_both_fixes(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says={"thin_check": f"bad checksum in block 7\n@checked 1 {LIVE}"})
    report = done("pool.check", c)
    error = trouble(report, "failed")
    assert error.what == f"the metadata of the pool {name} is damaged"
    assert "bad checksum in block 7" in error.details and "@" not in error.details
    assert "pool.repair" in error.hint and "pool.restore" in error.hint
    assert report.result == Checked(name, False, LIVE)


@pytest.mark.parametrize("now", [{"mode": "ro", "needs_check": True}, {"mode": "ro"}, {"mode": "Fail"}])
@both
def test_a_pool_that_the_kernel_refuses_is_not_given_to_thin_check(
    machine: Make, name: str, now: dict[str, Any]
) -> None:
    c = machine(with_status(POOLS[name](), **now))
    report = done("pool.check", c)
    assert f"mode {now['mode']}" in trouble(report, "failed").details
    assert c.done == [] and not report.result.sound


@both
def test_full_metadata_is_not_called_damaged(machine: Make, name: str) -> None:
    c = machine(full(POOLS[name]()))
    error = trouble(done("pool.check", c), "failed")
    assert "full" in f"{error.what} {error.details}" and "damaged" not in str(error)
    assert "pool.grow" in error.hint
    assert c.done == []


def test_a_check_that_does_not_finish_is_no_verdict(machine: Make) -> None:
    report = done("pool.check", machine(on_files(), says={"thin_check": "Killed"}))
    error = trouble(report, "failed")
    assert (error.what, error.details.strip()) == ("pool.check: thin_check did not finish", "Killed")
    assert report.result is None


def test_a_transaction_id_that_lvm_does_not_expect_is_no_damage(machine: Make) -> None:
    c = machine(on_disks(), says={"thin_check": f"@ids 3 0\n@checked 0 {LIVE}"})
    error = trouble(done("pool.check", c), "failed")
    assert error.what == f"LVM cannot use the pool {groups.NAME} as it is"
    assert "transaction id is 3, LVM expects 0" in error.details and "pool.repair" in error.hint


@pytest.mark.parametrize(
    ("blocks", "lacks"),
    [
        ("32761 53248", "16.0G of data, LVM gives it 16.0G"),
        ("32760 53249", "208.0M of metadata, LVM gives it 208.0M"),
        ("32760 53248", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("task", ["pool.check", "pool.repair"])
def test_a_pool_that_lvm_has_in_an_older_size_is_not_called_damaged(
    machine: Make, task: str, blocks: str, lacks: str
) -> None:
    have = groups.with_volume(on_disks(), size=32760 * 512 * sizes.KIB)
    c = machine(have, says={"thin_check": f"@blocks {blocks}\n@ids 0 0\n@checked {1 if lacks else 0} {LIVE}"})
    report = done(task, c)
    if not lacks:
        assert report.status == "ok"
        return
    error = trouble(report, "failed")
    assert error.what == "LVM's record of containerd/thinpool is older than the pool"
    assert lacks in error.details and "pool.repair" not in error.hint
    assert "vgcfgrestore --force -f FILE containerd" in error.hint
    assert c.done == [f"thin_check of the pool {groups.NAME}"]


def test_a_damaged_superblock_says_nothing_about_sizes(machine: Make) -> None:
    c = machine(
        on_disks(), says={"thin_check": f"bad checksum in superblock\n@blocks 1{'0' * 15} 1\n@checked 1 {LIVE}"}
    )
    assert "is damaged" in trouble(done("pool.check", c), "failed").what


def test_a_pool_whose_disk_is_missing_is_not_checked(machine: Make) -> None:
    have = groups.with_group(on_disks(), missing=1)
    have = groups.with_volume(have, partial=True)
    c = machine(have)
    assert trouble(done("pool.check", c), "failed").what == f"the pool {groups.NAME} cannot be checked"
    assert c.done == []


def test_a_missing_program_or_pool_is_refused_first(machine: Make) -> None:
    c = machine(without(on_files(), "thin_check"))
    assert trouble(done("pool.check", c), "refused").what.startswith("thin_check is missing")
    have = on_files()
    c = machine(msgspec.structs.replace(have, pool=msgspec.structs.replace(have.pool, meta=None)))
    assert trouble(done("pool.check", c), "refused").what == f"a part of the pool {NAME} is missing"
    assert c.done == []


@both
def test_dry_does_not_query_the_pool(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), dry=True)
    report = done("pool.check", c)
    assert (report.status, report.result, c.done) == ("pending", None, [])
    assert "apply" not in c.log
