"""A loop pool grows, never shrinks, and its record has every size that was requested."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import keyvalue
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.pool import Place, Pool
from fabfile.host import Host
from fabfile.host import Pool as Asked
from fabfile.plan import Change, Command, File
from fabfile.pool.limits import Growth
from fabfile.pool.loop import files, grow, loop_pool
from fabfile.sizes import GIB, MIB
from tests.unit.pool.loops import NAME, machine, pool, state, want, written
from tests.unit.steps.conftest import having


def plan(data: str = "", meta: str = "", have: Facts | None = None) -> list[Change]:
    step = grow.step(Host(pool=Asked(name=NAME)), Growth(data, meta))
    return step.plan(have or machine())


def test_data_grows_with_the_metadata_that_it_needs_and_is_recorded_last() -> None:
    larger, record = plan("200G")
    assert isinstance(larger, Command)
    assert larger.script == f"/usr/local/libexec/devmapper-pool grow pool {200 * GIB} {150 * MIB}"
    assert larger.why == "data 100G → 200G; metadata 75M → 150M"
    assert isinstance(record, File)
    settings = keyvalue.settings(record.content)
    assert settings["ASKED_BYTES"] == f"{100 * GIB} {200 * GIB}"
    assert settings["ASKED_META_BYTES"] == f"{75 * MIB} {150 * MIB}"


def test_data_larger_than_a_file_may_be_is_refused() -> None:
    with pytest.raises(Refused, match="16T of data do not fit into a file on ext4"):
        plan("16T")


def test_metadata_alone() -> None:
    larger, record = plan(meta="1G")
    assert isinstance(larger, Command)
    assert larger.why == "metadata 75M → 1G"
    assert larger.script.endswith(f"grow pool 0 {GIB}")
    assert isinstance(record, File)
    assert keyvalue.settings(record.content)["ASKED_BYTES"] == str(100 * GIB)


def test_once_grown_nothing_is_left_to_do_for_it_nor_for_either_inventory() -> None:
    have = written(plan("200G"), machine(pool(200 * GIB, 150 * MIB)))
    assert plan("200G", have=have) == []
    for size in ("100G", "200G"):
        assert loop_pool.plan(have, want(size=size), None) == []
    with pytest.raises(Refused, match="another size") as refused:
        loop_pool.plan(have, want(size="150G"), None)
    assert "it has 200G (requested before: 100G and then 200G), requested: 150G" in refused.value.details


def test_a_growth_that_was_not_recorded_is_recorded_by_a_deploy() -> None:
    have = machine(pool(200 * GIB, 200 * MIB))
    (change,) = loop_pool.plan(have, want(size="200G"), None)
    assert isinstance(change, File)
    settings = keyvalue.settings(change.content)
    assert settings["ASKED_BYTES"] == f"{100 * GIB} {200 * GIB}"
    assert settings["ASKED_META_BYTES"] == f"{75 * MIB} {150 * MIB}"
    assert loop_pool.plan(written([change], have), want(size="200G"), None) == []
    with pytest.raises(Refused, match=r"metadata: it has 200M .*, requested: 1G") as refused:
        loop_pool.plan(have, want(size="200G", meta_size="1G"), None)
    assert refused.value.hint.endswith("to make it larger: inv pool.grow --name pool --meta-size 1G")


def test_what_it_has_grown_to_by_itself_is_the_size_that_is_reported() -> None:
    with pytest.raises(Refused, match=r"size: it has 120G \(requested before: 100G\), requested: 110G") as refused:
        loop_pool.plan(machine(pool(120 * GIB)), want(size="110G", meta_size="75M"), None)
    assert "pool.grow" not in refused.value.hint, "it cannot shrink"


def test_killed_after_the_files_were_enlarged() -> None:
    have = machine(pool(200 * GIB, 150 * MIB, table=pool().table, status=pool().status))
    changes = plan("200G", have=have)
    assert [change.why for change in changes] == ["finish growing", "the pool's size as asked for"]


def test_a_pool_that_grew_by_itself_meanwhile_is_large_enough() -> None:
    have = written(plan("200G"), machine(pool(240 * GIB, 150 * MIB)))
    assert plan("200G", have=have) == []


@pytest.mark.parametrize(
    ("data", "meta", "what"),
    [
        ("", "", "no size is given"),
        ("50G", "", "data cannot shrink"),
        ("", "10M", "metadata cannot shrink"),
        ("200", "", "is not a size"),
        ("", "17G", "too large"),
        ("+10G", "", "is not a size"),
    ],
)
def test_impossible_values_are_refused(data: str, meta: str, what: str) -> None:
    with pytest.raises(Refused, match=what):
        plan(data, meta)


@pytest.mark.parametrize(
    ("have", "what"),
    [
        (having(), "no pool pool made by this tool"),
        (machine(msgspec.structs.replace(pool(), table=None, status=None)), "is not active"),
        (machine(Pool()), "a part of the pool pool is missing"),
        (machine(pool(50 * GIB)), "a part of the pool pool is missing"),
        (machine(state("ro", needs_check=True)), "cannot grow before its metadata has been checked"),
        (machine(state("Fail")), "cannot grow before its metadata has been checked"),
        (machine(pool(place=Place("ext4", "/", 10 * MIB))), "no room for metadata"),
    ],
)
def test_a_pool_that_cannot_grow_now_is_refused(have: Facts, what: str) -> None:
    with pytest.raises(Refused, match=what):
        plan("200G", have=have)


@pytest.mark.parametrize("mode", ["rw", "ro", "out_of_data_space"])
def test_a_full_pool_may_grow(mode: str) -> None:
    assert len(plan("200G", have=machine(state(mode)))) == 2


def test_more_than_the_file_system_has_is_reported_as_overcommitted() -> None:
    larger, _ = plan("200G", have=machine(pool(place=Place("ext4", "/srv", 50 * GIB))))
    assert "OVERCOMMITTED: /srv has 50.0G free" in larger.why


@given(st.lists(st.integers(1, 1 << 30), min_size=1, max_size=5))
def test_every_size_is_remembered_once_the_last_one_last(sizes: list[int]) -> None:
    have = machine()
    first = files.recorded(have, NAME)
    assert first
    for size in sizes:
        now = files.recorded(have, NAME)
        assert now
        have = written(files.grown(have, NAME, now, size, size + 1), have)
    now = files.recorded(have, NAME)
    assert now
    assert sorted(now.asked_bytes) == sorted({*first.asked_bytes, *sizes})
    assert (now.asked_bytes[-1], now.asked_meta_bytes[-1]) == (sizes[-1], sizes[-1] + 1)
    assert now == msgspec.structs.replace(first, asked_bytes=now.asked_bytes, asked_meta_bytes=now.asked_meta_bytes)
