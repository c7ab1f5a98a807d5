"""The logical volume under a pool's directory."""

from __future__ import annotations

from typing import Any

import pytest

from fabfile.errors import Refused
from fabfile.facts.pool import Backing, Pool, Volume
from fabfile.sizes import GIB
from fabfile.steps.pool import volume
from tests.unit.steps.conftest import having

WANT = volume.Volume("datavg", "lvdevm", 15 * GIB, "/srv/pool")
ROOM = Volume(group_free=20 * GIB)


def plan(now: Volume | None, **pool: Any) -> list[str]:
    have = having(pool=Pool(volume=now, **pool))
    return [change.why for change in volume.changes(have, WANT)]


def test_made_formatted_and_mounted_each_only_if_it_is_not() -> None:
    assert plan(ROOM) == [
        "logical volume /dev/datavg/lvdevm of 15G",
        "ext4 on /dev/datavg/lvdevm",
        "mount it at /srv/pool, now and at every boot",
    ]
    assert plan(Volume(group_free=0, size=15 * GIB)) == [
        "ext4 on /dev/datavg/lvdevm",
        "mount it at /srv/pool, now and at every boot",
    ]
    assert plan(Volume(group_free=0, size=15 * GIB, filesystem="ext4")) == [
        "mount it at /srv/pool, now and at every boot"
    ]
    assert plan(Volume(group_free=0, size=15 * GIB, filesystem="ext4", mounted="/srv/pool")) == []


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (None, "no volume group 'datavg'"),
        (Volume(group_free=None), "no volume group 'datavg'"),
        (Volume(group_free=GIB), "no room"),
        (Volume(group_free=0, size=GIB, filesystem="xfs"), "holds xfs"),
        (Volume(group_free=0, size=GIB, filesystem="LVM2_member"), "holds LVM2_member"),
        (Volume(group_free=0, size=GIB, filesystem="ext4", mounted="/home"), "is mounted at /home"),
    ],
)
def test_what_is_in_the_way_is_named(now: Volume | None, what: str) -> None:
    with pytest.raises(Refused, match=what):
        plan(now)


def test_a_mount_that_would_hide_a_pool_is_refused() -> None:
    with pytest.raises(Refused, match="holds a pool already"):
        plan(ROOM, data=Backing(GIB, 0, used=False))


@pytest.mark.parametrize(
    ("name", "size", "what"),
    [
        ("datavg", "15G", "is not VG/LV"),
        ("", "15G", "is not VG/LV"),
        ("-vg/lv", "15G", "is not VG/LV"),
        ("vg/lv/x", "15G", "is not VG/LV"),
        ("vg/lv", "", "needed with --volume"),
        ("vg/lv", "15", "is not a size"),
    ],
)
def test_half_a_volume_is_refused(name: str, size: str, what: str) -> None:
    with pytest.raises(Refused, match=what):
        volume.volume(name, size, "/srv/pool")


def test_none_is_asked_for() -> None:
    assert volume.volume("", "", "/srv/pool") is None
