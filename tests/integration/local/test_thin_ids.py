"""Lists of thin ids and copies of databases, in a real shell: a program that dies is a failure, not an empty list."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fabfile.facts.record import LoopRecord
from fabfile.instance import Daemon
from fabfile.pool.maintain.actions import ManagedPool
from fabfile.pool.maintain.database_files import unpack
from fabfile.render import render

LISTED = "1 16 0\\n2 16 1\\n"


def managed(directory: Path) -> ManagedPool:
    """A pool whose files are in `directory`."""
    record = LoopRecord(
        data=f"{directory}/data", meta=f"{directory}/meta", block_sectors=128, asked_bytes=(1,), asked_meta_bytes=(1,)
    )
    return ManagedPool("pool", Daemon(), record, str(directory))


def run(script: str, directory: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run shell with the functions of a pool in `directory`; each of `programs` is replaced by this shell."""
    bin = directory / "bin"
    bin.mkdir(exist_ok=True)
    for name, text in programs.items():
        (bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin / name).chmod(0o755)
    pool = managed(directory)
    common = f"PATH={bin}:$PATH\n{render('pool/common.sh.j2', pool=pool)}".replace(pool.records, f"{directory}/meta.db")
    return subprocess.run(["sh", "-euc", common + script], capture_output=True, text=True, check=False)


def test_thin_ids_are_listed(tmp_path: Path) -> None:
    done = run("ids meta", tmp_path, thin_ls=f"printf '{LISTED}'")
    assert (done.returncode, done.stdout) == (0, "id 1 16 0\nid 2 16 1\n")


@pytest.mark.parametrize("listed", ["", LISTED])
def test_a_thin_ls_that_dies_is_a_failure(tmp_path: Path, listed: str) -> None:
    done = run("ids meta; echo @end", tmp_path, thin_ls=f"printf '{listed}'; kill -KILL $$")
    assert done.returncode != 0 and "@end" not in done.stdout


def test_databases_arrive_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "now").mkdir()
    (tmp_path / "now/db").write_bytes(b"devices")
    done = run(f"packed {tmp_path}/now then-", tmp_path)
    assert unpack(done.stdout.splitlines(), "then-").pool == b"devices"


@pytest.mark.parametrize("program", ["gzip", "base64"])
def test_a_database_that_cannot_be_printed_is_not_one_that_does_not_exist(tmp_path: Path, program: str) -> None:
    (tmp_path / "now").mkdir()
    (tmp_path / "now/db").write_bytes(b"devices")
    done = run(f"packed {tmp_path}/now ''; echo @end", tmp_path, **{program: "kill -KILL $$"})
    assert done.returncode != 0 and "@end" not in done.stdout


def test_a_backup_does_not_need_the_database_that_containerd_writes_at_whatever_it_does(tmp_path: Path) -> None:
    for name in ("meta.db", "pool.db"):
        (tmp_path / name).write_text("devices")
    busy = "/bin/cat $1; case $1 in *meta.db) echo more >>$1 ;; esac"
    assert run(f"copies {tmp_path}/now; ls {tmp_path}/now", tmp_path, cat=busy).stdout == "db\n"
    done = run(f"records {tmp_path}/now", tmp_path, cat=busy)
    assert done.returncode == 1 and "keeps changing: containerd is writing to it" in done.stdout


def test_the_newest_copy_of_the_databases_stays_whatever_the_clock_says(tmp_path: Path) -> None:
    (tmp_path / "pool.db").write_text("devices")
    pool = managed(tmp_path)
    script = render("pool/copies.sh.j2", pool=pool, keep=2).replace(pool.backups, f"{tmp_path}/copies")
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies/databases-20310101T000000Z.db.gz").touch()  # by an earlier version
    for year in ("2030", "2026", "2020"):
        run(f"date() {{ echo {year}0101T000000Z; }}\n{script}", tmp_path)
    assert sorted(path.name for path in (tmp_path / "copies").iterdir()) == [
        "databases-b00000002-20260101T000000Z.db.gz",
        "databases-b00000003-20200101T000000Z.db.gz",
    ]
