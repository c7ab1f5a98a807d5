"""Ranges ↔ names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import ranges
from tests.unit import cost


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["web1"], ["web1"]),
        (["web1", "web2", "web4"], ["web[1-2,4]"]),
        (["web01", "web02", "db"], ["web[01-02]", "db"]),
        (["web2.rack1.example", "db1.rack1", "web1.rack1.example"], ["web[1-2].rack1.example", "db1.rack1"]),
        (["192.0.2.9", "192.0.2.10", "192.0.3.9"], ["192.0.2.[9-10]", "192.0.3.9"]),
        (["a-b", "c.d"], ["a-b", "c.d"]),
        (["a", "a1", "a1a", "a2", "1a"], ["a", "a[1-2]", "a1a", "1a"]),
        (["h10000000000000000001", "h10000000000000000002"], ["h[10000000000000000001-10000000000000000002]"]),
        ([], []),
    ],
)  # fmt: skip
def test_folded(names: list[str], words: list[str]) -> None:
    assert ranges.folded(names) == words


@given(st.lists(st.from_regex(r"[a-b]?[0-9]{0,2}([a-b.-][0-9]{0,2}){0,2}[a-b]", fullmatch=True), unique=True))
def test_ranges_are_the_names_that_were_folded(names: list[str]) -> None:
    words = ranges.folded(names)
    assert sorted(name for word in words for name in ranges.expand(word, "here")) == sorted(names)


def test_folding_costs_little_whatever_the_names_are() -> None:
    names = [f"10.{number * 7 % 251}.{number % 199}.{number * 13 % 241}" for number in range(20000)]
    names += [f"h{number:05}.example" for number in range(0, 20000, 2)]
    with cost.at_most(20):
        words = ranges.folded(dict.fromkeys(names))
    assert all(len(word) < 500 for word in words)
