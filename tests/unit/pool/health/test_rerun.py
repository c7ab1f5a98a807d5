"""The command that requests a pool as it exists has nothing to do on its machine."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.facts import record as records
from fabfile.facts.instances import DevmapperSettings
from fabfile.facts.record import Record
from fabfile.facts.units import Unit, Units
from fabfile.host import Pool
from fabfile.pool import units
from fabfile.pool.health import rerun
from fabfile.pool.health.findings import pool_findings
from fabfile.pool.loop import loop_pool
from tests.unit import typed
from tests.unit.pool import groups
from tests.unit.pool.loops import NAME, machine, pool, want


def recorded(**asked: Any) -> Record:
    found = units.recorded(machine(**asked), NAME)
    assert found
    return found


def test_a_pool_on_files() -> None:
    said = rerun.command(NAME, recorded())
    assert said == "inv pool.loop --name pool --dir /srv/pool"
    said = rerun.command(NAME, recorded(size="7G", instance="two", block_size="128K"))
    assert said == "inv pool.loop --instance two --name pool --dir /srv/pool --size 7G --block-size 128K"
    said = rerun.command(NAME, recorded(meta_size="99M"))
    assert said == "inv pool.loop --name pool --dir /srv/pool --meta-size 99M"


def test_a_direct_pool_is_created_again_by_its_own_options() -> None:
    def said(asked: Pool) -> str:
        conf = units.conf(asked.dm_name)
        text = groups.written(groups.plan(groups.fresh(), asked))[conf].content
        return rerun.command(asked.dm_name, records.parse(conf, text))

    assert said(groups.asked()) == "inv pool.direct"
    other = groups.asked(vg="vg-a", lv="p", data_percent=60, chunk_size="64K")
    assert said(other) == "inv pool.direct --vg vg-a --lv p --data-percent 60 --chunk-size 64K"


@given(size=st.integers(1, 4000), blocks=st.integers(1, 64))
def test_the_command_is_one_that_invoke_accepts(size: int, blocks: int) -> None:
    said = rerun.command(NAME, recorded(size=f"{size}G", block_size=f"{64 * blocks}K"))
    assert typed.commands(said) == [said]
    assert typed.wrong(said) == []
    assert shlex.split(said)[2:4] == ["--name", NAME]


def test_a_pool_of_version_0_1_has_its_sizes_too() -> None:
    old = {"DATA": "/srv/x/data", "META": "/srv/x/meta", "BLOCK_SECTORS": "128"}
    old |= {"DATA_SECTORS": str(2 << 21), "META_BYTES": str(4 << 20)}
    assert (
        rerun.command("x", records.read(units.conf("x"), old))
        == "inv pool.loop --name x --dir /srv/x --size 2G --meta-size 4M"
    )


@pytest.mark.parametrize("asked", [{"size": "7G"}, {"size": "200G", "meta_size": "1G"}])
def test_the_command_requests_the_existing_pool(asked: dict[str, Any]) -> None:
    words = shlex.split(rerun.command(NAME, recorded(**asked)))[2:]
    typed_options = dict(zip((word[2:].replace("-", "_") for word in words[::2]), words[1::2], strict=True))
    again_want = want(**typed_options)
    have = machine(pool(data=again_want.data, meta=again_want.meta), **asked)
    assert loop_pool.plan(have, again_want, None) == []


@pytest.mark.parametrize(
    ("unit", "config", "says"),
    [
        (Unit("loaded", "inactive"), DevmapperSettings(pool=NAME), "containerd.service"),
        (Unit("loaded", "failed"), DevmapperSettings(pool=NAME), "containerd.service"),
        (Unit("loaded", "active"), DevmapperSettings(pool=NAME), ""),
        (Unit("loaded", "inactive"), DevmapperSettings(pool="other"), ""),
        (Unit("loaded", "inactive"), None, ""),
        (Unit("not-found", "inactive"), DevmapperSettings(pool=NAME), ""),
        (Unit("masked", "inactive"), DevmapperSettings(pool=NAME), ""),
    ],
)
def test_a_containerd_that_is_on_the_pool_and_does_not_run_is_named(unit: Unit, config: Any, says: str) -> None:
    have = machine()
    configs = {"/etc/containerd/config.toml": config} if config else {}
    instances = msgspec.structs.replace(have.instances, configs=configs)
    have = msgspec.structs.replace(have, instances=instances, units=Units({"containerd.service": unit}))
    assert rerun.stopped(have, NAME) == says
    files = {of: file for of, file in have.files.items() if of != units.SCRIPT}
    (gone,) = [
        one for one in pool_findings(msgspec.structs.replace(have, files=files), NAME) if one.what == "pool at boot"
    ]
    assert gone.hint.endswith(f"; then systemctl start {says}") == bool(says)
    assert typed.wrong(gone.hint) == []
