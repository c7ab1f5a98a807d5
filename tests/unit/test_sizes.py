"""Sizes: always with a binary unit, exact there and back, every mistake refused with the option's name."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import sizes
from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.sizes import GIB, KIB, LARGEST, MIB, UNITS

exact = st.integers(1, LARGEST // KIB).map(lambda n: n * KIB)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1K", 1024),
        ("64K", 65536),
        ("512M", 512 * MIB),
        ("100G", 100 * GIB),
        ("100g", 100 * GIB),
        ("100gib", 100 * GIB),
        ("1.5T", 3 << 39),
        ("0.5k", 512),
        ("100GiB", 100 * GIB),
        (" 2T ", 2 << 40),
        ("007G", 7 * GIB),
        ("1E", LARGEST),
        ("1024P", LARGEST),
    ],
)
def test_parse(text: str, size: int) -> None:
    assert sizes.parse(text) == size


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a size"),
        ("100", "not a size"),
        ("100X", "not a size"),
        ("100 G", "not a size"),
        ("100Gb", "has a decimal unit"),
        ("100MB", "has a decimal unit"),
        ("1.1G", "not a whole number of bytes"),
        ("1.5", "not a size"),
        (".5G", "not a size"),
        ("1,5G", "not a size"),
        ("100B", "not a size"),
        ("1e3G", "not a size"),
        ("-1G", "not a size"),
        ("+1G", "not a size"),
        ("0", "not a size"),
        ("G", "not a size"),
        ("0x10G", "not a size"),
        ("1_000G", "not a size"),
        ("\u0661G", "not a size"),  # a digit, but not an ASCII one
        ("1G\n2G", "not a size"),
        ("9" * 21 + "G", "not a size"),
        ("0G", "too small"),
        ("2E", "too large"),
        ("1025P", "too large"),
        ("99999999999999999999E", "too large"),
    ],
)
def test_parse_refuses(text: str, says: str) -> None:
    with pytest.raises(Refused, match=says) as refused:
        sizes.parse(text, "pool.meta_size")
    assert refused.value.what.startswith(f"pool.meta_size: {text!r} ")
    assert refused.value.code == 2


def test_a_mistake_shows_the_option_to_type() -> None:
    with pytest.raises(Refused) as refused:
        sizes.parse("100", "pool.meta_size")
    assert "--meta-size 100G" in refused.value.hint


def test_a_decimal_unit_is_refused_with_both_values_except_where_containerd_reads_it() -> None:
    with pytest.raises(Refused) as refused:
        sizes.parse("100GB", "--size")
    assert refused.value.details == "100GB is 100000000000 bytes, 100GiB is 107374182400 bytes"
    assert refused.value.hint == "sizes have binary units: --size 100GiB"
    for text in ("100GB", "100 GB", "100gib", "107374182400", "107374182400B"):
        assert sizes.parse(text, containerd=True) == 100 * GIB


@given(st.integers(1, 1 << 62), st.integers(0, 9), st.sampled_from("KMGT"))
def test_a_fraction_is_exact_or_refused(number: int, places: int, unit: str) -> None:
    exact = Fraction(number, 10**places)
    text = f"{number // 10**places}.{number % 10**places:0{places}}{unit}" if places else f"{number}{unit}"
    size = exact * UNITS[unit]
    try:
        assert sizes.parse(text) == size
    except Refused:
        assert size.denominator != 1 or size > LARGEST


@given(st.integers(KIB, LARGEST))
def test_every_number_of_bytes_is_shown_exactly(size: int) -> None:
    assert sizes.parse(sizes.show(size)) == size


def test_the_least_is_accepted_and_less_is_refused_with_it() -> None:
    assert sizes.parse("2M", least=2 * MIB) == 2 * MIB
    with pytest.raises(Refused, match="too small") as refused:
        sizes.parse("2047K", least=2 * MIB)
    assert refused.value.details == "at least 2M"


def test_the_largest_is_said() -> None:
    with pytest.raises(Refused) as refused:
        sizes.parse("2E")
    assert refused.value.details == "at most 1E (1 EiB)"


@given(exact)
def test_what_is_shown_is_parsed_to_the_same(size: int) -> None:
    assert sizes.parse(sizes.show(size)) == size


@given(exact)
def test_what_is_shown_is_the_shortest(size: int) -> None:
    number, unit = int(sizes.show(size)[:-1]), sizes.show(size)[-1]
    assert number * UNITS[unit] == size
    assert number % 1024 or unit == "E"


@given(st.integers(1, 2000), st.sampled_from("KMGTPEkmgtpe"), st.sampled_from(["", "iB", "ib"]))
def test_every_spelling_of_a_unit_is_the_same_size(number: int, unit: str, suffix: str) -> None:
    if number * UNITS[unit.upper()] > LARGEST:
        with pytest.raises(Refused, match="too large"):
            sizes.parse(f"{number}{unit}{suffix}")
    else:
        assert sizes.parse(f"{number}{unit}{suffix}") == number * UNITS[unit.upper()]


@given(st.text())
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        size = sizes.parse(text)
    except Refused as refused:
        assert shown(text) in refused.what
    else:
        assert 1 <= size <= LARGEST


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1, "1B"), (1000, "1000B"), (1024, "1K"), (1536, "1.5K"), (75 * MIB, "75M"), (3 * GIB // 2, "1536M")],
)
def test_show(size: int, text: str) -> None:
    assert sizes.show(size) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (50788444570, "47.3G"), (LARGEST, "1.0E")]
)
def test_human(size: int, text: str) -> None:
    assert sizes.human(size) == text
