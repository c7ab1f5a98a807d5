"""What the inventory has to say about a pool, and how that is said for an instance that the inventory is not about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fabfile import hints, inventory
from fabfile.errors import Refused
from fabfile.facts import record
from fabfile.facts.pool import Table
from fabfile.facts.record import Record
from fabfile.host import Host, Pool
from fabfile.output.outcome import Outcome
from fabfile.pool import units
from fabfile.pool.health import stated
from fabfile.pool.loop import loop_pool
from tests.unit import typed
from tests.unit.pool import groups
from tests.unit.pool.loops import NAME, machine, state, want
from tests.unit.pool.loops import pool as now

HERE = {"name": NAME, "dir": "/srv/pool"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hosts.toml"


def made(instance: str = "", **settings: Any) -> Host:
    host = inventory.on_instance(Host(), instance)
    return msgspec.structs.replace(host, pool=host.pool.given(settings))


def outcome(step: str, status: Any) -> Outcome:
    return Outcome(step, status, "", 0)


@pytest.mark.parametrize(
    ("pool", "says"),
    [
        ({"size": "4G"}, 'set size = "4G"'),
        ({"variant": "direct", "devices": ["/dev/b", "/c"]}, 'set variant = "direct", devices = ["/dev/b", "/c"]'),
        ({"variant": "direct", "chunk_size": "1M", "size": "4G"}, 'set variant = "direct", chunk_size = "1M"'),
    ],
)
def test_what_was_typed_is_to_be_stated(
    file: Path, capsys: pytest.CaptureFixture[str], pool: dict[str, Any], says: str
) -> None:
    host = made(**pool)
    stated.advise_changed(host, [outcome("packages", "changed"), outcome(f"pool.{host.pool.variant}", "ok")])
    assert capsys.readouterr().out == ""
    stated.advise_changed(host, [outcome(f"pool.{host.pool.variant}", "changed")])
    assert capsys.readouterr().out == f"{says} in its pool in {file}: other tasks use what is there\n"


def test_a_pool_as_stated_needs_no_advice(capsys: pytest.CaptureFixture[str]) -> None:
    for instance in ("", "two"):
        stated.advise(made(instance))
    with hints.entered(Host(name="a", pool=Pool(size="4G"))):
        stated.advise(made(size="4G"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"size": "4G"}, "deploy the containerd instance two as fab -H a deploy --instance two --size 4G"),
        (
            {"variant": "direct", "devices": ("/dev/b", "/dev/c")},
            "deploy the containerd instance two as "
            "fab -H a deploy --instance two --variant direct --device /dev/b --device /dev/c",
        ),
    ],
)
def test_the_inventory_is_not_to_state_the_pool_of_another_instance(settings: dict[str, Any], says: str) -> None:
    with hints.entered(Host(name="a")):
        assert stated.state("two", settings) == says
    assert typed.wrong(says) == []
    with hints.entered(Host(name="a", instance="two")):
        assert stated.state("two", settings).startswith("set ")
        said = stated.state("", settings)
    assert said.startswith("deploy the default containerd as fab -H a deploy --instance default --")


def test_the_note_about_another_instance_says_whose_pool_the_inventory_has(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stated.advise(made("two", size="4G"))
    said = capsys.readouterr().out
    assert said == (
        f"{file} has the pool of the default containerd: "
        "deploy the containerd instance two as inv deploy --instance two --size 4G\n"
    )


def test_what_a_deploy_does_not_take_needs_an_inventory_of_its_own(file: Path) -> None:
    said = stated.state("two", {"size": "4G", "block_size": "1M"})
    assert f"a copy of {file}" in said
    assert said.endswith('set instance = "two" for the host and size = "4G", block_size = "1M" in its pool')


def recorded(**asked: Any) -> Record:
    found = units.recorded(machine(**asked), NAME)
    assert found
    return found


@pytest.mark.parametrize(
    ("asked", "stock", "says"),
    [
        ({}, {}, {}),
        ({}, {"size": "102400M", "meta_size": "75M", "block_size": "0.0625M"}, {}),
        ({"size": "4G"}, {}, {"size": "4G"}),
        ({"size": "4G", "meta_size": "1G"}, {}, {"size": "4G", "meta_size": "1G"}),
        ({}, {"meta_size": "1G"}, {"meta_size": ""}),
        ({"block_size": "128K", "meta_size": "75M"}, {}, {"block_size": "128K", "meta_size": "75M"}),
        ({}, {"variant": "direct", "meta_size": "5%"}, {"variant": "loop", "meta_size": ""}),
    ],
)
def test_with_what_is_to_be_stated_a_deploy_wants_the_pool(
    asked: dict[str, str], stock: dict[str, str], says: dict[str, str]
) -> None:
    pool = Pool().given(HERE | stock)
    with hints.entered(Host(name="a", pool=pool)):
        differ = stated.unlike_inventory(NAME, recorded(**asked))
    assert differ == says
    spec = want(**asked)
    sectors = spec.block // 512
    table = Table("thin-pool", spec.data // 512, "7:0", "7:1", sectors)
    whole = state("rw", used_data=1, total_data=spec.data // spec.block, total_meta=spec.meta // 4096).status
    have = machine(now(spec.data, spec.meta, table=table, status=whole), **asked)
    if differ:
        with pytest.raises(Refused):
            if pool.variant == "direct":
                groups.plan(have, pool.given({"vg": NAME}))
            loop_pool.step(Host(pool=pool)).plan(have)
    assert loop_pool.step(Host(pool=pool.given(differ))).plan(have) == []


def test_a_direct_pool_is_to_be_stated_as_one() -> None:
    text = groups.made(groups.asked(chunk_size="1M")).files[units.conf(groups.NAME)].content
    differ = stated.unlike_inventory(groups.NAME, record.parse(units.conf(groups.NAME), text))
    assert differ == {"variant": "direct", "chunk_size": "1M"}


def test_a_refused_size_says_how_to_keep_the_pool(file: Path) -> None:
    with hints.entered(Host(name="a", pool=Pool().given(HERE))), pytest.raises(Refused) as refused:
        loop_pool.plan(machine(now(4 << 30, 6 << 20), size="4G", meta_size="6M"), want(), None)
    keep, _, larger = refused.value.hint.partition("; ")
    assert keep.startswith("to keep it: fab -H a pool.loop --size 4G, and set ")
    assert keep.endswith(f'set size = "4G" in its pool in {file}')
    assert larger == "to make it larger: fab -H a pool.grow --size 100G --meta-size 75M"
