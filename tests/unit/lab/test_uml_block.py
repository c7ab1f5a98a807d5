"""The virtio disk of a User-mode Linux machine: requests as its driver makes them, on real files."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabfile.lab.kinds import uml_block
from fabfile.lab.kinds.uml_block import DISCARD, FAILED, FLUSH, ID, OK, READ, UNSUPPORTED, WRITE, ZERO, Block

PIECE = 8192
"""Small enough for a request of 16 sectors to cross it."""

SIZE = 3 * PIECE - 4096


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Block]]:
    """Make a disk of three pieces, the last one half as long."""
    monkeypatch.setattr(uml_block, "PIECE", PIECE)
    files = [tmp_path / f"{number}" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(bytes(min(PIECE, SIZE - number * PIECE)))

    def make(**options: Any) -> Block:
        plain = {"block": 512, "physical": 512, "read_only": False, "discard": True}
        made.append(Block(files=[*map(str, files)], size=SIZE, serial="lab-disk7", **{**plain, **options}))
        return made[-1]

    made: list[Block] = []
    yield make
    for descriptor in (descriptor for block in made for descriptor in block.files):
        os.close(descriptor)


def content(directory: Path) -> bytes:
    """Return the content of the disk, from its files."""
    return b"".join((directory / f"{number}").read_bytes() for number in range(3))


def ask(block: Block, kind: int, sector: int = 0, data: bytes = b"", room: int = 0) -> tuple[int, bytes]:
    """Execute a request with its data and reply in two buffers each; return the result, and the data of the reply."""
    half = len(data) // 2
    request = [struct.pack("<IIQ", kind, 0, sector), data[:half], data[half:]]
    reply = [bytearray(room // 2), bytearray(room - room // 2), bytearray(b"\xff")]
    written = block.answer([memoryview(part) for part in request], [memoryview(part) for part in reply])
    assert written == room + 1
    return reply[2][0], bytes(reply[0] + reply[1])


def span(sector: int, sectors: int) -> bytes:
    """Return a range, as for discarding or zeroing."""
    return struct.pack("<QII", sector, sectors, 0)


SPANS = st.tuples(st.integers(0, SIZE // 512 - 1), st.integers(1, 20)).map(
    lambda place: (place[0], min(place[1], SIZE // 512 - place[0]))
)
REQUESTS = st.lists(st.tuples(st.sampled_from((READ, WRITE, DISCARD, ZERO)), SPANS, st.binary(min_size=1, max_size=9)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(REQUESTS)
def test_a_disk_behaves_like_an_array_of_bytes(disk: Callable[..., Block], tmp_path: Path, requests: list[Any]) -> None:
    block = disk()
    assert ask(block, ZERO, data=span(0, SIZE // 512)) == (OK, b"")
    model = bytearray(SIZE)
    for kind, (sector, sectors), pattern in requests:
        place = slice(sector * 512, (sector + sectors) * 512)
        data = (pattern * sectors * 512)[: sectors * 512]
        if kind == READ:
            assert ask(block, READ, sector, room=len(data)) == (OK, bytes(model[place]))
        elif kind == WRITE:
            assert ask(block, WRITE, sector, data) == (OK, b"")
            model[place] = data
        else:
            assert ask(block, kind, data=span(sector, sectors)) == (OK, b"")
            model[place] = bytes(len(data))
    assert ask(block, READ, room=SIZE) == (OK, bytes(model))
    assert content(tmp_path) == model


def test_a_disk_reports_its_serial_number(disk: Callable[..., Block]) -> None:
    assert ask(disk(), ID, room=20) == (OK, b"lab-disk7".ljust(20, b"\0"))


def test_a_flush_succeeds_and_an_unknown_request_is_unsupported(disk: Callable[..., Block]) -> None:
    assert ask(disk(), FLUSH) == (OK, b"")
    assert ask(disk(), 99) == (UNSUPPORTED, b"")


@pytest.mark.parametrize("sector", [SIZE // 512 - 1, SIZE // 512, 1 << 62])
def test_requests_beyond_the_end_fail(disk: Callable[..., Block], tmp_path: Path, sector: int) -> None:
    block = disk()
    ask(block, WRITE, 0, b"x" * SIZE)
    for kind in (DISCARD, ZERO):
        assert ask(block, kind, data=span(sector, 2)) == (FAILED, b"")
    assert ask(block, WRITE, sector, b"x" * 1024) == (FAILED, b"")
    assert ask(block, READ, sector, room=1024) == (FAILED, bytes(1024))
    assert content(tmp_path) == b"x" * SIZE


def test_a_disk_with_large_blocks_rejects_partial_ones(disk: Callable[..., Block]) -> None:
    block = disk(block=4096, physical=4096)
    assert ask(block, WRITE, 8, b"x" * 4096) == (OK, b"")
    assert ask(block, WRITE, 8, b"x" * 512) == (FAILED, b"")
    assert ask(block, WRITE, 7, b"x" * 4096) == (FAILED, b"")


def test_a_read_only_disk_rejects_every_write(disk: Callable[..., Block]) -> None:
    block = disk(read_only=True)
    assert ask(block, WRITE, 0, b"x" * 512) == (FAILED, b"")
    assert ask(block, ZERO, data=span(0, 1)) == ask(block, DISCARD, data=span(0, 1)) == (FAILED, b"")
    assert ask(block, READ, room=512) == (OK, bytes(512))


def test_a_full_file_system_below_fails_the_request(
    disk: Callable[..., Block], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(file: int, parts: list[memoryview], offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwritev", full)
    assert ask(disk(), WRITE, 0, b"x" * 512) == (FAILED, b"")
    assert capsys.readouterr().err == "lab-disk7: [Errno 28] No space left on device\n"
    monkeypatch.setattr("os.pwritev", lambda file, parts, offset: 100)
    assert ask(disk(), WRITE, 0, b"x" * 512) == (FAILED, b"")


def test_a_file_system_without_holes_makes_discards_unsupported(
    disk: Callable[..., Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fallocate(*args: object) -> int:
        ctypes.set_errno(errno.EOPNOTSUPP)
        return -1

    monkeypatch.setattr(uml_block, "libc", SimpleNamespace(fallocate=fallocate))
    assert ask(disk(), ZERO, data=span(0, 1)) == ask(disk(), DISCARD, data=span(0, 1)) == (UNSUPPORTED, b"")


def test_discarded_space_is_given_back(disk: Callable[..., Block], tmp_path: Path) -> None:
    block = disk()
    ask(block, WRITE, 0, b"x" * PIECE)
    assert (tmp_path / "0").stat().st_blocks > 0
    ask(block, DISCARD, data=span(0, PIECE // 512))
    assert (tmp_path / "0").stat().st_blocks == 0
    assert (tmp_path / "0").stat().st_size == PIECE


@pytest.mark.parametrize(
    ("options", "features", "block", "exponent"),
    [
        ({}, {2, 6, 9, 10, 13, 14}, 512, 0),
        ({"read_only": True}, {2, 5, 6, 9, 10, 13, 14}, 512, 0),
        ({"discard": False}, {2, 6, 9, 10, 14}, 512, 0),
        ({"physical": 4096}, {2, 6, 9, 10, 13, 14}, 512, 3),
        ({"block": 4096, "physical": 4096}, {2, 6, 9, 10, 13, 14}, 4096, 0),
    ],
)
def test_features_and_configuration_describe_the_disk(
    disk: Callable[..., Block], options: dict[str, Any], features: set[int], block: int, exponent: int
) -> None:
    """The offsets are those of `struct virtio_blk_config`."""
    made = disk(**options)
    assert {bit for bit in range(64) if made.features >> bit & 1} == features
    assert struct.unpack_from("<Q", made.config) == (SIZE // 512,)
    assert struct.unpack_from("<I", made.config, 12) == (126,)
    assert struct.unpack_from("<IB", made.config, 20) == (block, exponent)
    assert struct.unpack_from("<H", made.config, 34) == (1,)
    assert struct.unpack_from("<IIIIIB", made.config, 36) == (1 << 22, 1, block // 512, 1 << 22, 1, 1)
