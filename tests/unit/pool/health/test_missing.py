"""Missing parts of a loop pool are found by identity, and refused by whatever would continue without them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import keyvalue
from fabfile.errors import Refused
from fabfile.facts import Facts, under
from fabfile.facts import pool as facts
from fabfile.facts.instances import Instances
from fabfile.facts.pool import Place, Pool
from fabfile.facts.under import BackingVolume, Loop
from fabfile.pool import units
from fabfile.pool.health import missing
from fabfile.pool.health.findings import down
from fabfile.pool.loop import identity, loop_pool
from fabfile.sizes import GIB, MIB
from tests.unit.pool import groups
from tests.unit.pool.loops import NAME, known, machine, pool, want
from tests.unit.steps.conftest import having

DATA, META = "/srv/pool/data", "/srv/pool/meta"


def found(have: Facts) -> list[str]:
    return [loss.found for loss in missing.losses(have, NAME)]


def device(path: str, size: int, *, inode: int = 0, deleted: bool = False) -> Loop:
    return Loop("7:3", size, path, deleted, "", inode)


OTHER = device(DATA, 100 * GIB, inode=9, deleted=True)
"""On a deleted file; the one at the path has the recorded inode."""


def test_a_complete_pool_a_direct_pool_and_no_pool_lack_nothing() -> None:
    assert found(machine()) == []
    assert found(having()) == []
    assert found(having(instances=Instances(settings={NAME: groups.RECORD}))) == []


def test_a_pool_that_is_being_created_lacks_nothing_yet() -> None:
    assert found(known(machine(Pool()), MAKING="yes")) == []


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (Pool(), [f"{DATA} is gone", f"{META} is gone"]),
        (msgspec.structs.replace(pool(meta_loop=device(META, 75 * MIB, deleted=True)), meta=None),
         [f"{META} is gone; its content is still in /dev/loop3, until that is detached"]),
        (msgspec.structs.replace(pool(meta_loop=device("/srv/away", 75 * MIB)), meta=None),
         [f"{META} is gone; /dev/loop3 is on /srv/away now"]),
        (msgspec.structs.replace(pool(data_loop=OTHER), data=facts.Backing(100 * GIB, 0, used=True, inode=5)),
         [f"{DATA} is not the file that /dev/loop3 is on, which was deleted or moved"]),
        (pool(data_loop=OTHER),
         [f"{DATA} was written by a rescue that was not finished; /dev/loop3 is still on the deleted file"]),
        (pool(120 * GIB, data_loop=device(DATA, 140 * GIB)), [f"{DATA} was truncated: it has 120.0G of 140.0G"]),
        (pool(64 * MIB), [f"{DATA} was truncated: it has 64.0M of 100.0G"]),
        (pool(meta=0), [f"{META} was truncated: it has 0B of 75.0M"]),
    ],
)  # fmt: skip
def test_missing_truncated_and_replaced_files_are_named(now: Pool, says: list[str]) -> None:
    assert found(machine(now)) == says


def test_a_file_with_a_partial_last_sector_is_not_truncated() -> None:
    assert found(machine(pool(100 * GIB + 100, data_loop=device(DATA, 100 * GIB)))) == []


def test_a_mount_is_known_by_the_uuid_of_its_file_system() -> None:
    at = Place("ext4", "/srv", 500 * GIB, "f-1")
    assert found(known(machine(pool(place=at)), FS_UUID="f-1", MOUNT="/elsewhere")) == []
    other = {"FS_UUID": "f-2", "MOUNT": "/srv", "DATA_INO": "17"}
    down = pool(place=at, table=None, status=None)
    assert found(known(machine(down), **other)) == [
        "the file system f-2 is not mounted at /srv: /srv/pool is on /srv now"
    ]
    assert found(known(machine(pool(place=at)), **other)) == []  # it runs on them
    assert found(known(machine(down), **other | {"DATA_INO": "0"})) == []  # a file system that got another UUID
    root = known(machine(Pool(place=Place("ext4", "/", GIB))), MOUNT="/srv/pool")
    assert found(root) == ["the file system under it is not mounted at /srv/pool: /srv/pool is on / now"]


@pytest.mark.parametrize(
    ("volume", "says"),
    [
        (None, "LVM does not know the volume group vg"),
        (BackingVolume(), "LVM does not know the volume group vg"),
        (
            BackingVolume(hidden=("/dev/vdb",), hides={"filter": '["r|vdb|"]'}),
            'LVM ignores /dev/vdb of vg: lvm.conf says filter = ["r|vdb|"]',
        ),
        (BackingVolume(group_free=0), "there is no volume vg/lv"),
        (
            BackingVolume(group_free=0, size=1, uuid="u-2", attr="-wi-a-----"),
            "vg/lv is another volume: its UUID is u-2, the pool's is u-1",
        ),
        (BackingVolume(group_free=0, size=1, uuid="u-1", attr="-wi-a---p-"), "a disk of the volume vg/lv is missing"),
        (BackingVolume(group_free=0, size=1, uuid="u-1", attr="-wi-------"), "is not active"),
        (
            BackingVolume(
                group_free=0, size=1, uuid="u-1", attr="-wi-------", against="PVs appear on duplicate devices."
            ),
            "is not active, and LVM does not activate it: PVs appear on duplicate devices.",
        ),
    ],
)
def test_a_missing_volume_is_named(volume: BackingVolume | None, says: str) -> None:
    (said,) = found(known(machine(Pool(volume=volume)), VOLUME="vg/lv", VOLUME_UUID="u-1"))
    assert says in said


def test_a_volume_about_which_lvm_could_not_be_asked_is_not_missing() -> None:
    have = known(machine(Pool(volume=BackingVolume(suspended=("other",)))), VOLUME="vg/lv", VOLUME_UUID="u-1")
    assert found(have) == []
    assert [one.hint for one in down(have, NAME)][:1] == ["dmsetup resume other"]


def test_a_lost_pool_is_refused_with_both_fixes() -> None:
    with pytest.raises(Refused, match="a part of the pool pool is missing") as refused:
        loop_pool.plan(machine(Pool(place=Place("ext4", "/", 1 << 40))), want(), None)
    assert "docs/rescue.md" in refused.value.hint
    assert "pool.reset --name pool --yes" in refused.value.hint
    missing.refuse(machine(pool(meta=0)), NAME, except_for=frozenset({"meta"}))


def test_a_lost_pool_of_an_earlier_version_is_not_created_again() -> None:
    old = known(machine(Pool(place=Place("ext4", "/", 1 << 40))))
    conf = units.conf(NAME)
    lines = [line for line in old.files[conf].content.splitlines() if not line.startswith(identity.KEYS)]
    text = "".join(f"{line}\n" for line in lines)
    now = msgspec.structs.replace(old.files[conf], content=text)
    have = msgspec.structs.replace(
        old, files={conf: now}, instances=Instances(settings={NAME: keyvalue.settings(text)})
    )
    with pytest.raises(Refused, match="is missing"):
        loop_pool.plan(have, want(), None)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.booleans())
def test_a_loop_device_is_parsed_whatever_its_file_is_called(name: str, deleted: bool) -> None:
    name = " ".join(name.split()) or "x"
    end = under.DELETED if deleted else ""
    parsed = facts.parse(f"directory /d\nloop 7:3 253:1 12 2048 /d/{name}{end}\nplace ext4 1 / \n")
    assert (parsed.data_loop is not None) == (name.removesuffix(under.DELETED) == "data")
