"""Names are folded as -H takes them, equal things are said once, and what differs between hosts is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.output import host_comparison
from fabfile.ranges import expand, words


@pytest.mark.parametrize(
    ("hosts", "text"),
    [
        ([f"web{number:02}" for number in range(1, 13)], "web[01-12]"),
        (["web1", "web3", "db1"], "db1,web[1,3]"),
        (["web1"], "web1"),
        (["rack1n1", "rack1n2", "rack2n1", "rack2n2"], "rack[1-2]n[1-2]"),
        (["root@[::1]:22", "web1", "web2", "[2001:db8::1]"], "web[1-2],root@[::1]:22,[2001:db8::1]"),
    ],
)
def test_names_are_folded(hosts: list[str], text: str) -> None:
    assert host_comparison.names(hosts) == text
    assert host_comparison.counted(hosts) == f"{len(hosts)} host{'' if len(hosts) == 1 else 's'}: {text}"


@given(st.sets(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,12}", fullmatch=True), min_size=1, max_size=30))
def test_what_is_folded_means_the_same_hosts_again(hosts: set[str]) -> None:
    again = [name for word in words(host_comparison.names(sorted(hosts))) for name in expand(word, "-H")]
    assert sorted(again) == sorted(hosts)


def test_what_most_hosts_have_comes_first_and_hosts_keep_their_order() -> None:
    things = {"c": "x", "b": "y", "a": "y", "d": "z"}
    assert host_comparison.grouped(things) == [("y", ["b", "a"]), ("x", ["c"]), ("z", ["d"])]


def test_drift_names_each_value_with_its_hosts() -> None:
    traits = {f"web{number:02}": {"runc": "1.3.3", "kernel": "6.1"} for number in range(1, 12)}
    traits["web11"] = {"runc": "1.3.2", "kernel": "6.1"}
    traits["db1"] = {"kernel": "6.1", "pool.size": "1T"}
    assert host_comparison.drift(traits, 200) == ["drift: runc 1.3.3 on web[01-10], 1.3.2 on web11"]


def test_many_values_are_not_all_listed() -> None:
    traits = {f"h{number}": {"pool.size": f"{number}G"} for number in range(100, 110)}
    (line,) = host_comparison.drift(traits, 200)
    assert line.startswith("drift: pool.size 100G on h100, 101G on h101, ")
    assert line.endswith("104G on h104, 5 other values on h[105-109]")


def test_the_digest_of_a_version_is_shown_where_it_makes_the_difference() -> None:
    one, other, newer = "2.3.1-0123456789ab", "2.3.1-ba9876543210", "2.3.2-0123456789ab"
    assert host_comparison.short([one, newer, "none"]) == {one: "2.3.1", newer: "2.3.2", "none": "none"}
    assert host_comparison.short([one, other]) == {one: one, other: other}
    assert host_comparison.drift({"a": {"go": one}, "b": {"go": newer}}, 100) == ["drift: go 2.3.1 on a, 2.3.2 on b"]
