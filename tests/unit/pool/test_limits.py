"""Limits and arithmetic of thin pools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.pool import limits
from fabfile.pool.loop import spec
from fabfile.pool.loop.spec import LoopSpec
from fabfile.pool.lvm import layout
from fabfile.sizes import GIB, KIB, MIB

RIGHT: dict[str, Any] = {"name": "pool", "dir": "/srv/pool", "size": "100G", "meta_size": "", "block_size": "64K"}


def pool(**changes: Any) -> LoopSpec:
    return spec.wanted(**(RIGHT | changes))


@pytest.mark.parametrize(
    ("size", "block", "meta"),
    [("100G", "64K", 75 * MIB), ("1T", "64K", 768 * MIB), ("100G", "512K", 11 * MIB), ("1G", "64K", 5 * MIB)],
)
def test_metadata_by_the_kernels_formula_and_by_the_number_of_devices(size: str, block: str, meta: int) -> None:
    assert pool(size=size, block_size=block).meta == meta


@given(st.integers(limits.DATA_LEAST, 1 << 60), st.integers(1, 16384).map(lambda n: n * 64 * KIB))
def test_metadata_covers_the_data_within_the_kernels_limits(data: int, block: int) -> None:
    meta = limits.metadata_size(data, block)
    assert limits.META_LEAST <= meta <= limits.META_MOST
    assert meta % MIB == 0
    assert meta == limits.META_MOST or meta >= max(48 * data // block, limits.needed(data, block))
    assert meta >= limits.earlier_size(data, block)


RECORDED = Path(__file__).parent / "thin_metadata_size.txt"
TABLE = [line.split() for line in RECORDED.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(("size", "block", "said"), TABLE, ids=["-".join(row[:2]) for row in TABLE])
def test_metadata_is_enough_for_a_thousand_devices_as_the_kernels_tools_count(size: str, block: str, said: str) -> None:
    data, bytes_ = sizes.parse(size.upper()), sizes.parse(block.upper())
    assert limits.needed(data, bytes_) >= int(said)
    assert limits.needed(data, bytes_) - int(said) <= 2 * limits.META_BLOCK
    assert limits.metadata_size(data, bytes_) >= min(int(said), limits.META_MOST)
    assert layout.metadata("", bytes_, data) >= min(int(said), limits.META_MOST)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"size": "100"}, "is not a size"),
        ({"size": "100X"}, "is not a size"),
        ({"size": "-1G"}, "is not a size"),
        ({"size": "0G"}, "too small"),
        ({"size": "0"}, "is not a size"),
        ({"size": "1K"}, "too small"),
        ({"size": "2E"}, "too large"),
        ({"size": "1025P"}, "too large"),
        ({"name": "a/b"}, "is not a pool name"),
        ({"name": "a b"}, "is not a pool name"),
        ({"name": "-a"}, "is not a pool name"),
        ({"name": "a+b"}, "is not a pool name"),
        ({"name": ""}, "is not a pool name"),
        ({"name": "a" * 65}, "is not a pool name"),
        ({"dir": "pool"}, "is not an absolute directory"),
        ({"dir": "/a/../b"}, "is not an absolute directory"),
        ({"dir": "/"}, "is not an absolute directory"),
        ({"dir": "/a b"}, "is not an absolute directory"),
        ({"block_size": "32K"}, "is not a block size"),
        ({"block_size": "100K"}, "is not a block size"),
        ({"block_size": "2G"}, "is not a block size"),
        ({"meta_size": "1M"}, "too small"),
        ({"meta_size": "17G"}, "too large"),
        ({"threshold": 0}, "is not a threshold"),
        ({"threshold": 101}, "is not a threshold"),
        ({"percent": 0}, "is not a step"),
        ({"max_size": "99G"}, "less than the pool"),
        ({"max_size": "200"}, "is not a size"),
        ({"when_full": "wait"}, "pool.when_full"),
    ],
)
def test_impossible_values_are_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(Refused, match=what):
        pool(**changes)


def test_a_pool_smaller_than_a_block_is_refused() -> None:
    with pytest.raises(Refused, match="too small"):
        pool(size="512M", block_size="1G")
    assert pool(size="1G", block_size="1G").data == GIB


def test_settings_of_automatic_growth() -> None:
    found = pool(threshold=70, percent=50, max_size="200G", when_full="error")
    assert (found.threshold, found.percent, found.most, found.when_full) == (70, 50, 200 * GIB, "error")
    assert pool().most == 0


def test_requested_metadata_is_rounded_to_whole_blocks() -> None:
    assert pool(meta_size="4097K").meta == 4096 * KIB
