"""What can be requested of a direct pool, and which existing pools contradict it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts.files import FileFact
from fabfile.host import Host
from fabfile.pool import units
from fabfile.pool.lvm import direct_pool
from fabfile.sizes import GIB, KIB
from tests.unit import typed
from tests.unit.pool.groups import (
    NAME,
    asked,
    fresh,
    made,
    refused,
    with_volume,
)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data_percent": 70}, "data_percent: it has 80, requested: 70"),
        ({"meta_size": "1G"}, "meta_size: it has its default, requested: 1G"),
        ({"chunk_size": "64K"}, "chunk_size: it has 512K, requested: 64K"),
    ],
)
def test_other_parameters_are_refused_with_both_values(change: dict[str, Any], says: str) -> None:
    assert refused(made(), asked(**change)).details == says


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"thins": 2}, "holds 2 thin volumes of LVM's own"),
        ({"type": "linear"}, "is not a thin pool"),
        ({"dm_name": "other"}, "LVM calls containerd/thinpool other"),
        ({"chunk": 64 * KIB}, "has another chunk size"),
    ],
)
def test_a_pool_that_containerd_could_not_use_is_refused(change: dict[str, Any], says: str) -> None:
    assert says in refused(with_volume(made(), **change), asked()).what


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"vg": "a/b"}, "pool.vg"),
        ({"vg": "-a"}, "pool.vg"),
        ({"lv": "a b"}, "pool.lv"),
        ({"lv": "snapshot1"}, "pool.lv"),
        ({"lv": "x_tmeta"}, "pool.lv"),
        ({"lv": "x_tmetax"}, "pool.lv"),
        ({"lv": "p" * 60}, "pool.lv"),
        ({"data_percent": 0}, "pool.data_percent"),
        ({"data_percent": 101}, "pool.data_percent"),
        ({"threshold": 49}, "pool.threshold"),
        ({"threshold": 101}, "pool.threshold"),
        ({"percent": 0}, "pool.percent"),
        ({"max_size": "1T"}, "pool.max_size"),
        ({"when_full": "wait"}, "pool.when_full"),
        ({"chunk_size": "100K"}, "pool.chunk_size"),
        ({"chunk_size": "2G"}, "pool.chunk_size"),
        ({"meta_size": "x"}, "pool.meta_size"),
        ({"dir": "pool"}, "pool.dir"),
        ({"devices": ("sdb",)}, "pool.devices"),
        ({"devices": ("/dev/../etc/passwd",)}, "pool.devices"),
        ({"devices": ("/dev/sdb;reboot",)}, "pool.devices"),
    ],
)
def test_invalid_values_are_refused_by_their_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(Refused) as refused:
        direct_pool.step(Host(pool=msgspec.structs.replace(asked(), **change)))
    assert refused.value.what.startswith(f"{key}: ")


def test_hyphens_are_doubled_as_in_lvm() -> None:
    want = asked(vg="my-vg", lv="a-b")
    assert want.dm_name == "my--vg-a--b"
    assert units.conf("my--vg-a--b") in direct_pool.step(Host(pool=want)).query.files


def test_a_pool_of_the_other_variant_with_that_name_is_refused_with_both_fixes() -> None:
    text = "VARIANT=loop\nDATA=/srv/x/data\nMETA=/srv/x/meta\nBLOCK_SECTORS=128\n"
    text += f"ASKED_BYTES={100 * GIB}\nASKED_META_BYTES={GIB}\n"
    have = fresh(files={units.conf(NAME): FileFact(text, 0o644)})
    error = refused(have, asked())
    assert (error.what, error.details) == (
        f"the pool {NAME} exists with other parameters",
        "variant: it has loop, requested: direct",
    )
    assert f"to keep it: inv pool.loop --name {NAME} --dir /srv/x" in error.hint
    assert typed.wrong(error.hint) == []
