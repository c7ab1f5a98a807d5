"""A record has a directory of its own that nobody else reads, and of old ones only what a run wrote is removed."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from fabfile.runs import storage

NOW = 1_795_834_541.0912


def made(name: str, *files: str) -> Path:
    """A record with a few files."""
    record = storage.root() / name
    (record / storage.LOGS).mkdir(parents=True)
    for file in files or (storage.HEAD, storage.EVENTS, storage.DOCUMENT, storage.LOG, f"{storage.LOGS}/web1.log"):
        (record / file).write_text("")
    return record


def test_names_sort_by_time_and_say_it_in_utc() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        name = storage.name_of(NOW)
    time.tzset()
    assert name == storage.name_of(NOW) == "20261128-025541-091"
    assert storage.name_of(NOW - 0.091) < storage.name_of(NOW) < storage.name_of(NOW + 86400 * 30)
    assert storage.NAME.fullmatch(storage.name_of(NOW))


def test_runs_that_begin_at_the_same_moment_have_different_names(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([NOW, NOW, NOW, NOW + 0.001])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    first, second = storage.create(), storage.create()
    assert [first.name, second.name] == storage.names() == ["20261128-025541-091", "20261128-025541-092"]


def test_nobody_else_may_enter_whatever_the_umask(home: Path) -> None:
    old = os.umask(0)
    try:
        record = storage.create()
        storage.create_file(record / storage.HEAD).close()
    finally:
        os.umask(old)
    for path in (home / "state", storage.root().parent, storage.root(), record, record / storage.LOGS):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((record / storage.HEAD).stat().st_mode) == 0o600


def test_where_others_may_exchange_the_directory_there_is_none() -> None:
    storage.root().mkdir(parents=True)
    storage.root().parent.chmod(0o777)
    with pytest.raises(PermissionError, match="others may write to"):
        storage.create()
    assert storage.names() == []


def test_a_directory_that_was_open_is_closed() -> None:
    storage.root().mkdir(parents=True)
    storage.root().chmod(0o777)
    storage.create()
    assert stat.S_IMODE(storage.root().stat().st_mode) == 0o700


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    storage.root().parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    storage.root().symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is not a directory of yours"):
        storage.create()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    "host", ["web1", "root@192.0.2.9:2222", "[::1]:22", "../../etc/x@h", "a/b@h", ".@h", "é" * 64 + "@" + "h" * 253]
)
def test_each_host_has_a_log_in_the_record(host: str) -> None:
    path = Path(storage.log_of(host))
    assert path.parent == Path(storage.LOGS) and path.suffix == ".log"
    assert len(path.name.encode()) <= 255
    assert storage.log_of(host) != storage.log_of(host + "x")


def test_too_many_go_and_so_do_old_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "KEEP", 3)
    old = storage.name_of(NOW - (storage.DAYS + 1) * 86400)
    new = [storage.name_of(NOW - seconds) for seconds in (5, 4, 3, 2, 1)]
    for name in [old, *new]:
        made(name)
    storage.prune(NOW)
    assert storage.names() == new[-3:]
    storage.prune(NOW + (storage.DAYS + 1) * 86400)
    assert storage.names() == []


def test_what_a_killed_removal_left_goes_the_next_time() -> None:
    made("20200101-000000-000", storage.HALF)
    (storage.root() / "20200101-000000-001").mkdir()
    storage.prune(NOW)
    assert storage.names() == []


def test_only_what_a_run_wrote_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    more = made("20200101-000000-000")
    (more / "notes.txt").write_text("mine")
    log = made("20200101-000000-001")
    (log / storage.LOGS / "notes").write_text("mine")
    link = made("20200101-000000-002", storage.EVENTS)
    (link / storage.HEAD).symlink_to(tmp_path / "mine")
    logs = storage.root() / "20200101-000000-003"
    logs.mkdir()
    (logs / storage.LOGS).symlink_to(tmp_path)
    (storage.root() / "20200101-000000-004").symlink_to(tmp_path)
    (storage.root() / "20200101-000000-005").write_text("a file")
    (storage.root() / "2020").mkdir()
    before = sorted(storage.root().rglob("*"))
    storage.prune(NOW)
    assert sorted(storage.root().rglob("*")) == before
    assert (tmp_path / "mine").read_text() == "x"


def test_a_run_that_goes_on_keeps_its_record() -> None:
    record = made("20200101-000000-000", storage.HEAD)
    with storage.create_file(record / storage.EVENTS) as events:
        storage.hold(events)
        assert storage.running(record)
        storage.prune(NOW)
        assert storage.names() == [record.name]
    assert not storage.running(record)
    storage.prune(NOW)
    assert storage.names() == []
