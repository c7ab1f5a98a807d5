"""A process is identified by id, start time and boot; another one with the same id is not it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from fabfile.lab import process
from fabfile.lab.process import Process


def test_a_recorded_process_is_found(tmp_path: Path) -> None:
    process.record(tmp_path / "process.json", os.getpid())
    assert process.read(tmp_path / "process.json") == os.getpid()
    assert not list(tmp_path.glob(".process*"))


@pytest.mark.parametrize("other", [{"started": 1}, {"boot": "another"}, {"pid": 2**22 + 1}])
def test_a_process_that_reused_the_id_is_not_found(tmp_path: Path, other: dict[str, object]) -> None:
    file = tmp_path / "process.json"
    process.record(file, os.getpid())
    known = msgspec.json.decode(file.read_bytes(), type=Process)
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(known, **other)))
    assert process.read(file) is None
    process.end(file)  # and nothing is sent to anybody


@pytest.mark.parametrize("content", [b"", b"{", b"1234", b'{"pid": 1}', b"\xff\xfe"])
def test_a_damaged_record_is_no_process(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "process.json"
    file.write_bytes(content)
    assert process.read(file) is None
    process.end(file)


def test_no_file_is_no_process(tmp_path: Path) -> None:
    assert process.read(tmp_path / "process.json") is None
