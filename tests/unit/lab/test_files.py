"""Atomic writes, careful removal, and a full disk reported as one."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from fabfile.errors import Failed
from fabfile.lab import files


def test_an_existing_file_is_replaced_atomically(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in ("first", "second"):
        files.write(file, content)
        assert file.read_text() == content
    with file.open() as reader:
        files.write(file, "third")
        assert reader.read() == "second"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"]


@pytest.mark.parametrize("place", ["tree", "tree/usr/my files"])
def test_a_directory_stays_while_something_is_mounted_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    mount, mounts = tmp_path / place, tmp_path / "mountinfo"
    mount.mkdir(parents=True)
    (mount / "precious").write_text("mine")
    shown = str(mount).replace(" ", r"\040")
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n25 22 0:5 /x {shown} rw - tmpfs tmpfs rw\n")
    monkeypatch.setattr(files, "MOUNTS", mounts)
    with pytest.raises(Failed) as failed:
        files.remove(tmp_path / "tree")
    assert failed.value.details == str(mount)
    assert (mount / "precious").read_text() == "mine"
    files.remove(tmp_path / "tre")  # there is none, and none is mounted in it


def test_neither_a_link_nor_a_file_is_taken_for_a_directory_of_ours(tmp_path: Path) -> None:
    outside, link, file = tmp_path / "outside", tmp_path / "link", tmp_path / "file"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    link.symlink_to(outside)
    file.write_text("mine")
    for path in (link, file):
        for act in (files.remove, files.fresh):
            with pytest.raises(Failed, match="is not a directory that the lab made"):
                act(path)
    assert (outside / "precious").exists() and link.is_symlink() and file.exists()


def test_a_link_in_a_directory_is_removed_but_not_its_target(tmp_path: Path) -> None:
    outside, ours = tmp_path / "outside", tmp_path / "ours"
    outside.mkdir()
    ours.mkdir()
    (ours / "link").symlink_to(outside)
    files.fresh(ours)
    assert ours.is_dir() and not list(ours.iterdir()) and outside.is_dir()


def test_a_process_that_still_writes_gets_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries, real = [], shutil.rmtree

    def busy(directory: Path) -> None:
        tries.append(directory)
        if len(tries) < 3:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(directory))
        real(directory)

    (tmp_path / "tree").mkdir()
    monkeypatch.setattr(shutil, "rmtree", busy)
    files.remove(tmp_path / "tree")
    assert len(tries) == 3 and not (tmp_path / "tree").exists()


def test_a_process_that_never_stops_writing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(directory: Path) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(directory))

    (tmp_path / "tree").mkdir()
    monkeypatch.setattr(shutil, "rmtree", busy)
    with pytest.raises(Failed, match="cannot remove"):
        files.remove(tmp_path / "tree", limit=0)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_an_unwritable_directory_is_named_with_how_to_use_another_one(tmp_path: Path, number: int) -> None:
    with pytest.raises(files.Unwritable) as failed, files.writing(tmp_path, "LAB_DIR"):
        raise OSError(number, os.strerror(number), "file")
    full = number in (errno.ENOSPC, errno.EDQUOT)
    assert failed.value.what == f"{'no room is left in' if full else 'cannot write to'} {tmp_path}"
    assert os.strerror(number) in failed.value.details
    assert "LAB_DIR" in failed.value.hint


def test_a_full_disk_that_a_program_reports_is_named_by_the_innermost_directory(tmp_path: Path) -> None:
    words = "cp: error writing 'x': No space left on device"
    with (
        pytest.raises(files.Unwritable) as failed,
        files.writing(tmp_path / "outer", "LAB_DIR"),
        files.writing(tmp_path / "in ner", "XDG_CACHE_HOME"),
    ):
        raise Failed("cp failed", words, hint="full log: log")
    assert failed.value.what == f"no room is left in {tmp_path / 'in ner'}"
    assert failed.value.details == f"cp failed\n{words}\nfull log: log"
    assert failed.value.hint.startswith(f"df -h '{tmp_path / 'in ner'}';") and "XDG_CACHE_HOME" in failed.value.hint


@pytest.mark.parametrize(
    ("free", "inodes", "full"), [(0, (100, 50), True), (1 << 20, (100, 0), True), (1 << 20, (0, 0), False)]
)
def test_a_full_disk_is_the_cause_even_if_no_program_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, inodes: tuple[int, int], full: bool
) -> None:
    found = SimpleNamespace(f_bavail=free, f_frsize=4096, f_files=inodes[0], f_favail=inodes[1])
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    with pytest.raises(Failed) as failed, files.writing(tmp_path / "not" / "yet", "LAB_DIR"):
        raise Failed("apt-get failed", "exit code 100")
    assert isinstance(failed.value, files.Unwritable) == full


def test_other_failures_are_passed_on_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), files.writing(tmp_path, "LAB_DIR"):
        (tmp_path / "none").read_text()
    with pytest.raises(Failed, match="apt-get failed"), files.writing(tmp_path, "LAB_DIR"):
        raise Failed("apt-get failed", "404 Not Found")
