"""Every variant in hosts.toml, and every record, has a row in the table."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from fabfile.errors import Refused
from fabfile.facts import record
from fabfile.host import Host, Pool
from fabfile.pool import variants
from fabfile.pool.limits import Growth
from tests.unit.pool import groups, loops


def test_every_variant_has_a_row_and_a_record() -> None:
    assert set(get_args(get_type_hints(Pool)["variant"])) == set(variants.VARIANTS) == set(record.VARIANTS)


def test_a_pool_that_was_made_has_the_row_of_its_record() -> None:
    direct = record.read(record.conf("p"), groups.RECORD)
    assert variants.of(loops.record()) is variants.LOOP
    assert variants.of(direct) is variants.LVM
    assert variants.of(direct).files("p") == ("/etc/lvm/profile/p.profile",)
    assert variants.files("p") == ("/etc/lvm/profile/p.profile",)


@pytest.mark.parametrize(("variant", "step"), [("loop", "pool.loop"), ("direct", "pool.direct")])
def test_the_inventory_says_which_one_a_deploy_makes(variant: str, step: str) -> None:
    host = Host(pool=Pool().given({"variant": variant}))
    made = variants.wanted(host.pool).make(host)
    assert made.name == step
    assert made.query.pool == host.pool.dm_name


@pytest.mark.parametrize("variant", variants.VARIANTS.values())
def test_growth_without_a_size_is_refused_by_each_variant(variant: variants.Variant[record.Record]) -> None:
    with pytest.raises(Refused, match="no size is given"):
        variant.grow(Host(), Growth())


def test_a_loop_pool_takes_no_disks() -> None:
    with pytest.raises(Refused, match="takes no --device"):
        variants.LOOP.grow(Host(), Growth(size="200G", devices=("/dev/vdb",)))
