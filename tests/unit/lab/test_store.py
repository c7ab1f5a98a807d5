"""Cached directories are verified before each use, and a failure leaves only a log."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fabfile import paths
from fabfile.errors import Failed
from fabfile.lab import files, store

DIGESTS = ("kernel/*", "version")


def make(part: Path, log: Path) -> None:
    log.write_text("it was made")
    (part / "kernel" / "lib").mkdir(parents=True)
    for name in ("root.img", "version", "kernel/linux", "kernel/lib/libc"):
        (part / name).write_text(f"content of {name}")


@pytest.fixture
def wanted() -> Path:
    """Make a directory in the cache."""
    wanted = paths.cache() / "images" / "one"
    assert store.find(wanted, make, digests=DIGESTS) is not None
    return wanted


def never(part: Path, log: Path) -> None:
    pytest.fail("it was made again")


def test_a_directory_is_made_once(wanted: Path) -> None:
    assert store.find(wanted, never, digests=DIGESTS) is None
    assert [path.name for path in wanted.parent.glob(".*.part")] == []
    assert json.loads((wanted / store.MANIFEST).read_text())["files"]["root.img"] == {"size": 19, "sha256": ""}


def test_a_directory_gets_its_name_once_it_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    sync, rename, order = files.sync, Path.rename, []

    def noted_sync(directory: Path) -> None:
        assert (directory / store.MANIFEST).exists()
        sync(directory)
        order.append("sync")

    def noted_rename(path: Path, target: Path) -> Path:
        order.append(f"rename to {target.name}")
        return rename(path, target)

    monkeypatch.setattr(files, "sync", noted_sync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    store.find(paths.cache() / "images" / "one", make)
    assert order == ["sync", "rename to one"]


def test_a_directory_that_cannot_be_synced_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.sync(tmp_path / "gone")
    files.sync(tmp_path)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def exchange(file: Path) -> None:
    file.write_bytes(file.read_bytes()[::-1])


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("root.img", empty, "root.img has 0 bytes instead of 19"),
        ("root.img", cut, "root.img has 18 bytes instead of 19"),
        ("root.img", Path.unlink, "root.img is gone"),
        ("kernel/linux", empty, "kernel/linux has 0 bytes instead of 23"),
        ("kernel/lib/libc", exchange, "kernel/lib/libc has another content"),
        ("version", exchange, "version has another content"),
        (store.MANIFEST, empty, f"{store.MANIFEST}: Input data was truncated"),
        (store.MANIFEST, cut, f"{store.MANIFEST}: Input data was truncated"),
    ],
)
def test_a_damaged_file_is_noticed_and_the_directory_made_again(
    wanted: Path, name: str, harm: Callable[[Path], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store.identity(wanted)
    harm(wanted / name)
    assert store.find(wanted, make, digests=DIGESTS) is not None
    assert capsys.readouterr().out == f"one in the cache is damaged and is made again: {said}\n"
    assert store.find(wanted, never, digests=DIGESTS) is None
    assert store.identity(wanted) not in ("", before)


def test_a_directory_without_a_manifest_is_not_ours_to_remove(wanted: Path) -> None:
    (wanted / store.MANIFEST).unlink()
    with pytest.raises(Failed, match="was not made by the lab"):
        store.find(wanted, never)
    assert (wanted / "root.img").exists()
    assert store.identity(wanted) == ""


@pytest.mark.parametrize("error", [Failed("mmdebstrap failed", "404"), KeyboardInterrupt()])
def test_a_failed_build_leaves_only_its_log(error: BaseException) -> None:
    wanted = paths.cache() / "images" / "one"

    def fail(part: Path, log: Path) -> None:
        make(part, log)
        raise error

    for _ in range(2):
        with pytest.raises(type(error)):
            store.find(wanted, fail)
        assert sorted(path.name for path in wanted.parent.iterdir()) == [".one.lock", ".one.log"]


def test_a_full_disk_is_named_with_how_to_use_another_cache() -> None:
    wanted = paths.cache() / "images" / "one"

    def fail(part: Path, log: Path) -> None:
        raise Failed("mke2fs failed", "mke2fs: No space left on device while writing", hint=f"full log: {log}")

    with pytest.raises(files.Unwritable) as failed:
        store.find(wanted, fail)
    assert failed.value.what == f"no room is left in {wanted.parent}"
    assert ".one.log" in failed.value.details and "XDG_CACHE_HOME" in failed.value.hint


@pytest.mark.parametrize("pid", [1, os.getpid()], ids=["another", "its own"])
def test_what_a_killed_run_left_incomplete_is_made_again(pid: int) -> None:
    wanted = paths.cache() / "images" / "one"
    part = wanted.with_name(f".one.{pid}.part")
    (part / "tree" / "usr").mkdir(parents=True)
    assert store.find(wanted, make) is not None
    assert not list(wanted.parent.glob(".*.part")) and not (wanted / "tree").exists()
