"""Which pool is meant."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from fabfile.facts.instances import DevmapperSettings, Instances
from fabfile.host import Host, Pool
from fabfile.inventory import on_instance
from fabfile.pool.lookup import meant
from tests.unit.steps.conftest import having

LOOP = {"VARIANT": "loop", "DATA": "/srv/pool/data", "META": "/srv/pool/meta", "BLOCK_SECTORS": "128"}
LOOP |= {"ASKED_BYTES": "1", "ASKED_META_BYTES": "1"}
DIRECT = {"VARIANT": "direct", "VG": "containerd-two", "LV": "thinpool", "CHUNK_BYTES": "65536", "INSTANCE": "two"}
DM_NAME = "containerd--two-thinpool"


@dataclass(frozen=True)
class Case:
    made: dict[str, dict[str, str]]
    name: str
    variant: str
    dm_name: str
    dir: str
    instance: str = "two"


DEFAULT, TWO = "/var/lib/containerd/devmapper", "/var/lib/containerd-two/devmapper"


@pytest.mark.parametrize(
    "case",
    [
        Case({}, "", "loop", "two-pool", TWO),
        Case({DM_NAME: DIRECT}, "", "direct", DM_NAME, TWO),
        Case({DM_NAME: DIRECT}, DM_NAME, "direct", DM_NAME, TWO),
        # A name that was typed means that pool.
        Case({DM_NAME: DIRECT}, "two-pool", "loop", "two-pool", TWO),
        Case({"data": {**LOOP, "INSTANCE": "two"}}, "", "loop", "data", "/srv/pool"),
        # Of two pools, neither is the only one.
        Case({DM_NAME: DIRECT, "data": {**LOOP, "INSTANCE": "two"}}, "", "loop", "two-pool", TWO),
        Case({DM_NAME: DIRECT, "two-pool": {**LOOP, "INSTANCE": "two"}}, "", "loop", "two-pool", "/srv/pool"),
        # Another containerd's pool is meant only by its name.
        Case({DM_NAME: DIRECT}, "", "loop", "containerd-pool", DEFAULT, ""),
        Case({DM_NAME: DIRECT}, DM_NAME, "direct", DM_NAME, DEFAULT, ""),
    ],
)
def test_the_pool_that_is_meant(case: Case) -> None:
    host = on_instance(Host(name="a", instance=case.instance))
    pool = meant(having(instances=Instances(settings=case.made)), host, case.name)
    assert (pool.variant, pool.dm_name, pool.dir) == (case.variant, case.dm_name, case.dir)


def test_an_active_pool_that_is_not_ours_may_be_meant() -> None:
    there = Instances(settings={DM_NAME: DIRECT}, active=frozenset({"two-pool"}))
    assert meant(having(instances=there), on_instance(Host(name="a", instance="two")), "").dm_name == "two-pool"


def test_where_containerd_keeps_the_database_of_a_direct_pool() -> None:
    configs = {"/etc/containerd/two.toml": DevmapperSettings(pool=DM_NAME, pool_root="/srv/two")}
    there = Instances(settings={DM_NAME: DIRECT}, configs=configs)
    host = on_instance(Host(name="a", instance="two"))
    assert meant(having(instances=there), host, "").dir == "/srv/two"
    elsewhere = msgspec.structs.replace(
        there, configs={"/etc/containerd/two.toml": DevmapperSettings(pool="x", pool_root="/y")}
    )
    assert meant(having(instances=elsewhere), host, "").dir == TWO


def test_what_the_inventory_says_of_a_pool_stays_where_it_was_made_so() -> None:
    pool = Pool(variant="direct", vg="containerd-two", threshold=70)
    host = msgspec.structs.replace(on_instance(Host(name="a", instance="two")), pool=pool)
    assert meant(having(instances=Instances(settings={DM_NAME: DIRECT})), host, "") == pool
