"""A mirror's releases.toml is a catalogue, or one clear error, within bounded time and memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile import paths
from fabfile.artefacts import address, catalogue, releases
from fabfile.errors import Refused
from tests.unit import cost
from tests.unit.damage import damaged

REAL = (paths.REPOSITORY / "releases.toml").read_text()

HOSTILE = {
    "dotted keys": ".".join("a" * 30_000) + " = 1",
    "many dotted keys": "\n".join(f"{'.'.join('a' * 400)}.b{number} = 1" for number in range(70)),
    "deep tables": "\n".join(f"[{'.'.join('b' * 490)}.t{number}]" for number in range(60)),
    "arrays in arrays": "a = " + "[\n" * 30_000,
    "tables in tables": "a = " + "{b=\n" * 10_000,
    "tables in tables in a line": "a = " + "{b=" * 300,
    "a number without end": "a = " + "9" * 60_000,
    "a long number": "a = " + "9" * 990,
    "hexadecimal": "a = 0x" + "f" * 990,
    "a string without end": 'a = """' + "\n" * 60_000,
    "too much": "# comment\n" * 10_000,
    "bytes that are no text": "\x00\x1b\ud800",
    "a set that is none": "set = 1",
    "a set of numbers": "[set]\nlab = 1",
}


def read(text: str) -> bool:
    """Whether it is a catalogue with the set 2.3; otherwise it was refused."""
    try:
        raw = catalogue.parse(text, "releases.toml")
        tables = catalogue.convert(raw, "releases.toml", "2.3")
        release = releases.assembled(tables, "2.3", "amd64", "http://mirror.example", "releases.toml")
        assert all(address.clean(part.url, part.name) == part.url for part in release.parts.values())
        return True
    except Refused as refused:
        assert len(str(refused)) < 5000
        return False


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_table_is_refused_within_seconds_and_megabytes(name: str) -> None:
    tracemalloc.start()
    try:
        with cost.at_most(20):
            assert not read(HOSTILE[name])
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_our_own_table_is_a_catalogue() -> None:
    assert read(REAL)


@settings(max_examples=150, deadline=30_000)
@given(st.text(max_size=400))
def test_any_text_is_a_table_or_refused(text: str) -> None:
    read(text)


@settings(max_examples=150)
@given(damaged([REAL]))
def test_ours_with_other_words_in_it_is_a_table_or_refused(text: str) -> None:
    read(text)


@settings(max_examples=150, deadline=30_000)
@given(st.integers(0, len(REAL)), st.integers(0, 200), st.text('{}[]".=\n\\ a1;$', max_size=20))
def test_ours_with_any_damage_is_a_table_or_refused(place: int, length: int, text: str) -> None:
    read(REAL[:place] + text + REAL[place + length :])


@given(st.text("{}:.!versiona[]1 >", max_size=40))
def test_nothing_but_the_names_is_filled_in(pattern: str) -> None:
    filled = catalogue.fill(pattern, {"version": "1", "arch": "a"})
    assert filled == pattern.replace("{version}", "1").replace("{arch}", "a")


def test_a_format_is_not_obeyed() -> None:
    assert catalogue.fill("{version:>9999999999}{arch!r}{0}", {"version": "1"}) == "{version:>9999999999}{arch!r}{0}"
