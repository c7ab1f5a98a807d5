"""A cached file gets its name only once it is completely on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fabfile.artefacts import cache_files


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what was synced and renamed, in order."""
    seen: list[str] = []
    sync, rename = os.fsync, Path.rename

    def noted_sync(descriptor: int) -> None:
        seen.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        sync(descriptor)

    def noted_rename(self: Path, to: Path) -> Path:
        seen.append(f"{self.name} is {to.name}")
        return rename(self, to)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    return seen


def test_a_file_has_its_name_when_it_is_on_the_disk_and_the_name_is_there_when_it_is_used(
    tmp_path: Path, done: list[str]
) -> None:
    """A power cut at any moment leaves the complete file, or none of that name, never an empty one."""
    part = tmp_path / ".file.part"
    part.write_bytes(b"whole")
    cache_files.settle(part, tmp_path / "file")
    assert done == ["sync .file.part", ".file.part is file", f"sync {tmp_path.name}"]
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_a_digest_is_written_down_of_what_is_on_the_disk(tmp_path: Path, done: list[str]) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"whole")
    cache_files.record(file)
    assert done == ["sync file", "sync .file.sha256.part", ".file.sha256.part is file.sha256", f"sync {tmp_path.name}"]
    assert cache_files.intact(file)
    for content in (b"", b"whol", b"wholf"):
        file.write_bytes(content)
        assert not cache_files.intact(file)
    file.write_bytes(b"whole")
    (tmp_path / "file.sha256").write_bytes(b"\xff")
    assert not cache_files.intact(file)
