"""A record has a directory of its own that nobody else reads, and of old ones only what a run wrote is removed."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from fabfile.runs import place

NOW = 1_795_834_541.0912


def made(name: str, *files: str) -> Path:
    """A record with a few files."""
    record = place.root() / name
    (record / place.LOGS).mkdir(parents=True)
    for file in files or (place.HEAD, place.EVENTS, place.DOCUMENT, place.LOG, f"{place.LOGS}/web1.log"):
        (record / file).write_text("")
    return record


def test_names_sort_by_time_and_say_it_in_utc() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        name = place.name_of(NOW)
    time.tzset()
    assert name == place.name_of(NOW) == "20261128-025541-091"
    assert place.name_of(NOW - 0.091) < place.name_of(NOW) < place.name_of(NOW + 86400 * 30)
    assert place.NAME.fullmatch(place.name_of(NOW))


def test_runs_that_begin_at_the_same_moment_have_different_names(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([NOW, NOW, NOW, NOW + 0.001])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    first, second = place.create(), place.create()
    assert [first.name, second.name] == place.names() == ["20261128-025541-091", "20261128-025541-092"]


def test_nobody_else_may_enter_whatever_the_umask(home: Path) -> None:
    old = os.umask(0)
    try:
        record = place.create()
        place.create_file(record / place.HEAD).close()
    finally:
        os.umask(old)
    for path in (home / "state", place.root().parent, place.root(), record, record / place.LOGS):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((record / place.HEAD).stat().st_mode) == 0o600


def test_where_others_may_exchange_the_directory_there_is_none() -> None:
    place.root().mkdir(parents=True)
    place.root().parent.chmod(0o777)
    with pytest.raises(PermissionError, match="others may write to"):
        place.create()
    assert place.names() == []


def test_a_directory_that_was_open_is_closed() -> None:
    place.root().mkdir(parents=True)
    place.root().chmod(0o777)
    place.create()
    assert stat.S_IMODE(place.root().stat().st_mode) == 0o700


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    place.root().parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    place.root().symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is not a directory of yours"):
        place.create()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    "host", ["web1", "root@192.0.2.9:2222", "[::1]:22", "../../etc/x@h", "a/b@h", ".@h", "é" * 64 + "@" + "h" * 253]
)
def test_each_host_has_a_log_in_the_record(host: str) -> None:
    path = Path(place.log_of(host))
    assert path.parent == Path(place.LOGS) and path.suffix == ".log"
    assert len(path.name.encode()) <= 255
    assert place.log_of(host) != place.log_of(host + "x")


def test_too_many_go_and_so_do_old_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "KEEP", 3)
    old = place.name_of(NOW - (place.DAYS + 1) * 86400)
    new = [place.name_of(NOW - seconds) for seconds in (5, 4, 3, 2, 1)]
    for name in [old, *new]:
        made(name)
    place.prune(NOW)
    assert place.names() == new[-3:]
    place.prune(NOW + (place.DAYS + 1) * 86400)
    assert place.names() == []


def test_what_a_killed_removal_left_goes_the_next_time() -> None:
    made("20200101-000000-000", place.HALF)
    (place.root() / "20200101-000000-001").mkdir()
    place.prune(NOW)
    assert place.names() == []


def test_only_what_a_run_wrote_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    more = made("20200101-000000-000")
    (more / "notes.txt").write_text("mine")
    log = made("20200101-000000-001")
    (log / place.LOGS / "notes").write_text("mine")
    link = made("20200101-000000-002", place.EVENTS)
    (link / place.HEAD).symlink_to(tmp_path / "mine")
    logs = place.root() / "20200101-000000-003"
    logs.mkdir()
    (logs / place.LOGS).symlink_to(tmp_path)
    (place.root() / "20200101-000000-004").symlink_to(tmp_path)
    (place.root() / "20200101-000000-005").write_text("a file")
    (place.root() / "2020").mkdir()
    before = sorted(place.root().rglob("*"))
    place.prune(NOW)
    assert sorted(place.root().rglob("*")) == before
    assert (tmp_path / "mine").read_text() == "x"


def test_a_run_that_goes_on_keeps_its_record() -> None:
    record = made("20200101-000000-000", place.HEAD)
    with place.create_file(record / place.EVENTS) as events:
        place.hold(events)
        assert place.running(record)
        place.prune(NOW)
        assert place.names() == [record.name]
    assert not place.running(record)
    place.prune(NOW)
    assert place.names() == []
