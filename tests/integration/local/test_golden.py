"""The disk of the deployed machine, as it is kept in the cache."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from fabfile.lab import kinds, machines, vm
from fabfile.lab.image import Image
from tests.integration import golden

SIZE = 1 << 30


class Deployed:
    """A machine on which everything was done already."""

    def __init__(self, _: vm.Vm) -> None:
        pass

    def state(self) -> str:
        return ""

    def fab(self, *_: str, code: int = 0) -> str:
        return ""

    def power_off(self) -> None:
        pass


@pytest.fixture
def elsewhere(tmp_path: Path) -> Any:
    """A directory on another file system than `tmp_path`."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        place = Path(name)
        if place.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("/dev/shm is no file system of its own")
        yield place


def test_a_disk_stays_sparse_on_its_way_to_another_file_system(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = vm.Vm(elsewhere, "uml", "bookworm", tmp_path, 1)
    disk = elsewhere / kinds.KINDS["uml"].root_overlay(machine)
    disk.parent.mkdir()
    with disk.open("wb") as file:
        file.write(b"a")
        file.truncate(SIZE)
    monkeypatch.setattr(machines, "up", lambda *_, **__: [machine])
    monkeypatch.setattr(machines, "remove", lambda _: None)
    monkeypatch.setattr(golden, "Machine", Deployed)
    golden._make(kinds.KINDS["uml"], Image("bookworm", tmp_path), tmp_path, "bookworm")
    kept = (tmp_path / "root").stat()
    assert kept.st_size == SIZE and kept.st_blocks * 512 < SIZE / 100 and not disk.exists()


def test_a_disk_belongs_to_one_place_of_its_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that was moved with the cache has the same identity."""
    monkeypatch.setattr(machines, "offer", lambda _: {})
    monkeypatch.setattr(Image, "id", "same")
    kind = kinds.KINDS["tcg"]
    names = {golden._digest(kind, Image("bookworm", tmp_path / place), "bookworm") for place in ("a", "b", "b")}
    assert len(names) == 2
