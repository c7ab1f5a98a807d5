"""Room for rescued files, the fix for each loss, and how the transaction ids of pool and LVM compare."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts.pool import Place, Pool
from fabfile.facts.query import about
from fabfile.facts.under import BackingVolume, Loop
from fabfile.host import Host
from fabfile.host import Pool as Asked
from fabfile.instance import Daemon
from fabfile.pool.health import missing
from fabfile.pool.maintain import check, rescue
from fabfile.pool.maintain.actions import InspectedPool
from fabfile.sizes import GIB, KIB, MIB
from tests.unit import typed
from tests.unit.pool.loops import NAME, known, machine, pool, state

DELETED = Loop("7:3", 75 * MIB, "/srv/pool/meta", True, "", 0)
START = "systemctl restart devmapper-pool@pool.service && systemctl start containerd.service"


def found(now: Pool) -> InspectedPool:
    have = machine(now)
    return InspectedPool(NAME, Daemon(), have.instances.pools[NAME], "/srv/pool", about(Host(pool=Asked())), have)


def test_a_rescue_needs_room_for_the_blocks_in_use_and_all_metadata() -> None:
    now = msgspec.structs.replace(pool(meta_loop=DELETED), data=None, meta=None)
    assert now.status
    assert rescue.needed(machine(now)) == now.status.used_data * 64 * KIB + 75 * MIB
    assert rescue.needed(machine(without_metadata(meta_loop=DELETED))) == 75 * MIB
    assert rescue.needed(machine(Pool())) == 0


def test_without_room_nothing_is_stopped() -> None:
    now = msgspec.structs.replace(pool(meta_loop=DELETED), data=None)
    rescue.refuse_room(found(now))
    with pytest.raises(Refused, match="/srv has no room for the files of pool") as refused:
        rescue.refuse_room(found(msgspec.structs.replace(now, place=Place("ext4", "/srv", GIB))))
    assert "nothing was stopped" in refused.value.details
    assert typed.commands(refused.value.hint) == ["inv pool.rescue --name pool"]


RESTORE = "from a backup: inv pool.restore --name pool"
OTHER = msgspec.structs.replace(DELETED, inode=9)
"""On another file than the one at the path."""

MOVED = msgspec.structs.replace(DELETED, file="/a b", deleted=False)


def without_metadata(**changes: Any) -> Pool:
    return msgspec.structs.replace(pool(**changes), meta=None)


VOLUME = BackingVolume(group_free=0, size=1, uuid="u-1", attr="-wi-------")


@pytest.mark.parametrize(
    ("now", "recorded", "ways"),
    [
        (without_metadata(meta_loop=DELETED), {}, ["stop nothing; run inv pool.rescue --name pool"]),
        (pool(meta_loop=OTHER), {"META_INO": "8"}, ["bring it back: see docs/rescue.md"]),
        (pool(meta_loop=OTHER), {}, ["stop nothing; run inv pool.rescue --name pool"]),
        (without_metadata(meta_loop=MOVED), {}, ["mv '/a b' /srv/pool/meta"]),
        (without_metadata(table=None, status=None), {}, [RESTORE]),
        (pool(meta=0), {}, [RESTORE]),
        (pool(64 * MIB), {}, ["the rest is lost; to read zeros in its place: truncate -s 107374182400 /srv/pool/data"]),
        (Pool(place=Place("ext4", "/", GIB)), {"MOUNT": "/srv/pool", "FS_UUID": "f-1"},
         [f"mount UUID=f-1 /srv/pool && {START}"]),
        (Pool(volume=VOLUME), {"VOLUME": "vg/lv", "VOLUME_UUID": "u-1"}, [f"lvchange -ay vg/lv && {START}"]),
        (Pool(volume=BackingVolume(renamed="other/away")), {"VOLUME": "vg/lv"},
         [f"vgrename other vg && lvrename vg away lv && lvchange -ay vg/lv && {START}"]),
        (Pool(volume=BackingVolume()), {"VOLUME": "vg/lv"}, [f"bring its disk back, then vgchange -ay vg && {START}"]),
    ],
)  # fmt: skip
def test_each_loss_names_the_command_that_fixes_it(now: Pool, recorded: dict[str, str], ways: list[str]) -> None:
    have = known(machine(now), **recorded) if recorded else machine(now)
    said = [loss.way for loss in missing.losses(have, NAME)]
    assert said == ways
    assert all(typed.wrong(way) == [] for way in said)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (None, ""),
        (["0", "0"], ""),
        (["0", "5"], "the pool's transaction id is 0, LVM expects 5"),
        (["3", "0"], "the pool's transaction id is 3, LVM expects 0"),
        (
            ["4", "4"],
            "the pool's transaction id is 4, and so is LVM's: unless it is 0, containerd does not find the pool",
        ),
        (["4"], "the pool's transaction id is 4, LVM expects none"),
    ],
)
def test_both_transaction_ids_are_named(ids: list[str] | None, says: str) -> None:
    assert check.differ(ids).startswith(says)
    assert bool(check.differ(ids)) == bool(says)


def test_a_pool_that_accepts_no_writes_is_not_checked() -> None:
    assert "mode ro" in check.refusal(machine(state("ro")))
