"""pool.backup from end to end."""

from __future__ import annotations

import pytest

from fabfile.pool.maintain.backup import Backup
from tests.unit.pool.loops import NAME
from tests.unit.pool.machines import POOLS, Make, both, done, on_files, trouble, with_pool, without

FILE = "/var/lib/containerd-devmapper/backup/pool/20261127T120000Z.xml.gz"
MADE = f"@backup {FILE} 4096 {'ab' * 32} 3 8"


@both
def test_a_backup_is_one_change_and_its_file_the_result(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says={"a backup": MADE})
    report = done("pool.backup", c)
    assert c.done == [f"a backup of the metadata of {name}"]
    assert (report.status, report.result) == ("changed", Backup(FILE, 4096, "ab" * 32, 3, 8))


def test_the_number_of_backups_to_keep_reaches_the_machine(machine: Make, capsys: pytest.CaptureFixture[str]) -> None:
    c = machine(on_files(), says={"a backup": MADE})
    done("pool.backup", c, keep=31)
    assert "31" in c.scripts[-1]
    assert "8 of at most 31 kept" in capsys.readouterr().out


def test_a_script_that_fails_is_a_failure_with_its_output(machine: Make) -> None:
    c = machine(on_files(), says={"a backup": "No space left on device"}, fails={"a backup": 1})
    report = done("pool.backup", c)
    assert "No space left on device" in trouble(report, "failed").details
    assert (report.result, report.steps) == (None, [])


def test_a_script_that_names_no_file_made_none(machine: Make) -> None:
    report = done("pool.backup", machine(on_files(), says={"a backup": "killed"}))
    error = trouble(report, "failed")
    assert (error.what, error.details.strip()) == ("pool.backup: no backup was made", "killed")
    assert report.result is None


def test_a_missing_program_and_a_suspended_pool_are_refused_first(machine: Make) -> None:
    c = machine(without(on_files(), "thin_dump"))
    assert trouble(done("pool.backup", c), "refused").what.startswith("thin_dump is missing")
    assert c.done == []
    c = machine(with_pool(on_files(), suspended=True))
    assert trouble(done("pool.backup", c), "refused").what == f"the pool {NAME} is not healthy"
    assert c.done == []


@both
def test_dry_makes_no_backup(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), dry=True)
    assert (done("pool.backup", c).status, c.done) == ("pending", [])
    assert "apply" not in c.log
