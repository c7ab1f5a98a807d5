"""The layout of a direct pool."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import Refused
from fabfile.pool.limits import META_LEAST, META_MOST
from fabfile.pool.lvm import layout
from fabfile.pool.lvm.layout import Layout
from fabfile.sizes import GIB, KIB, MIB

EXTENT = layout.EXTENT


def lay(whole: int, free: int | None = None, **changes: Any) -> Layout:
    asked: dict[str, Any] = {"percent": 80, "meta_size": "", "chunk": 512 * KIB, "step": 20, "grows": True} | changes
    return layout.layout(extent=EXTENT, extents=whole, free=whole if free is None else free, **asked)


def test_a_disk_of_20g() -> None:
    assert layout.predicted([20 * GIB]) == 5119
    assert lay(5119) == Layout(EXTENT, 5119, 5119, data=4095, meta=52, step=819)
    assert lay(5119).left == 920


@pytest.mark.parametrize(
    ("text", "whole", "bytes"),
    [
        ("", 20 * GIB, 20 * GIB // 100),  # 1%, more than 64 bytes for each of 40960 chunks
        ("", 200 * GIB, GIB),
        ("", 20 * 1024 * GIB, 64 * 20 * 1024 * GIB // (512 * KIB)),
        ("", 500 * 1024 * GIB, META_MOST),
        ("", 100 * MIB, 1003 * 4 * KIB),
        ("1%", 20 * GIB, 20 * GIB // 100),
        ("1%", 2000 * GIB, META_MOST),  # the recipe's, beyond what the kernel uses
        ("2G", 20 * GIB, 2 * GIB),
    ],
)
def test_metadata(text: str, whole: int, bytes: int) -> None:
    assert layout.metadata(text, 512 * KIB, whole) == bytes


@pytest.mark.parametrize("text", ["1", "100%", "1M", "17G", "-1%", "1.5%", "%"])
def test_impossible_metadata_sizes_are_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"pool\.meta_size"):
        layout.metadata(text, 512 * KIB, 20 * GIB)


def test_the_recipes_numbers_leave_no_room_to_grow_and_are_refused_with_the_arithmetic() -> None:
    with pytest.raises(Refused, match=r"data_percent: 95 leaves no room for autoextend to fire") as refused:
        lay(5119, percent=95, meta_size="1%")
    assert refused.value.details == (
        "the volume group has 5119 extents of 4M, 5119 of them free\n"
        "data 4863 + metadata 52 + its spare 52 = 4967 extents; 152 are left; the first step of 20% needs 973\n"
        "81% would fit"
    )
    assert refused.value.hint == "--data-percent 81, or --threshold 100 for a pool that never grows by itself"


def test_the_recipes_numbers_are_accepted_for_a_pool_that_never_grows() -> None:
    assert lay(5119, percent=95, meta_size="1%", grows=False).left == 152


def test_a_group_without_room_says_what_would_fit() -> None:
    with pytest.raises(Refused, match="data_percent: 80 does not fit") as refused:
        lay(5119, free=1000)
    assert "14% would fit" in refused.value.details
    assert refused.value.hint == "--data-percent 14"
    with pytest.raises(Refused) as refused:
        lay(5119, free=60)
    assert "nothing would fit" in refused.value.details
    assert refused.value.hint == "a larger disk"


def test_a_pool_too_small_for_any_image_is_refused() -> None:
    with pytest.raises(Refused, match="is too small"):
        lay(15)


wholes = st.integers(16, 1 << 24)
asked = st.fixed_dictionaries(
    {
        "percent": st.integers(1, 100),
        "step": st.integers(1, 100),
        "grows": st.booleans(),
        "meta_size": st.sampled_from(["", "1%", "16M", "1G"]),
        "chunk": st.sampled_from([64 * KIB, 512 * KIB, GIB]),
    }
)


@given(wholes, st.integers(0, 100), asked)
def test_every_layout_fits_and_can_grow_and_so_does_every_suggestion(
    whole: int, free: int, asked: dict[str, int]
) -> None:
    free = whole * free // 100
    try:
        made = lay(whole, free, **asked)
    except Refused as refused:
        if not (match := re.search(r"(\d+)% would fit", refused.details)):
            return
        percent = int(match[1])
        assert 1 <= percent < asked["percent"]
        made = lay(whole, free, **asked | {"percent": percent})
        with pytest.raises(Refused):
            lay(whole, free, **asked | {"percent": percent + 1})
    assert made.data + 2 * made.meta <= free
    assert made.left >= made.step
    assert not asked["grows"] or made.step * 100 >= made.data * asked["step"]
    assert META_LEAST <= made.meta * EXTENT <= META_MOST + EXTENT


def test_metadata_too_small_for_its_own_bitmap_is_refused() -> None:
    """Seen with 4M for 8T: the pool was created, and could not be activated."""
    with pytest.raises(Refused) as refused:
        lay(4 * 1024 * 1024, percent=50, meta_size="4M", grows=False)
    assert refused.value.what == "pool.meta_size: 4.0M is too small for 8.0T of 512K chunks"
    assert lay(4 * 1024 * 1024, percent=50, meta_size="8M", grows=False).meta == 2
    assert lay(4 * 1024 * 1024, percent=50, meta_size="4M", grows=False, chunk=MIB).meta == 1
