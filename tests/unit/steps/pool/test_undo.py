"""What takes a pool away again, purely from the facts."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from fabfile.daemon import Daemon
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.files import FileFact
from fabfile.facts.lvm import Volume
from fabfile.facts.pool import Pool as PoolFact
from fabfile.facts.pool import Volume as Under
from fabfile.plan import Change, Command, File
from fabfile.sizes import GIB
from fabfile.steps.pool import files, gate, undo, volume
from tests.unit.steps.pool import groups, loops

DIRECT = groups.NAME


def going(have: Facts, name: str, **changes: Any) -> undo.Going:
    settings = files.parse(have.files[files.conf(name)].content)
    return msgspec.structs.replace(undo.Going(name, Daemon(), settings, "/srv/pool"), **changes)


def whys(changes: list[Change]) -> list[str]:
    return [change.why for change in changes]


def scripts(changes: list[Change]) -> str:
    return "\n".join(change.script for change in changes if isinstance(change, Command))


def bare(have: Facts) -> Facts:
    """The same machine without any file, pool or group of ours."""
    lvm = msgspec.structs.replace(have.lvm, groups=(), physical={}, profile=None) if have.lvm else None
    return msgspec.structs.replace(have, files={}, pool=PoolFact(), lvm=lvm)


def with_disk(have: Facts, **changes: Any) -> Facts:
    """The machine of `groups.made` with the look at its disk as it is once its group is gone."""
    (look,) = have.disks
    seen = f"{groups.empty().seen}\nnode 254:0 dm-0 containerd-thinpool lvm\nsignature LVM2_member,0x218,"
    return msgspec.structs.replace(have, disks=(msgspec.structs.replace(look, seen=seen, **changes),))


def test_a_loop_pool_goes_in_the_one_order_that_works() -> None:
    have = loops.machine()
    changes = undo.plan(have, going(have, loops.NAME))
    assert whys(changes) == [
        "stop containerd.service and take the pool pool down with all its thin devices",
        "remove /srv/pool/data and /srv/pool/meta, 10.1G",
        "remove all images, containers and snapshots of the default containerd",
        "remove its units and files",
        "forget the pool pool",
    ]
    assert scripts(changes).rstrip().splitlines()[-1].count("rmdir") == 1
    assert files.conf(loops.NAME) in scripts(changes[-1:])
    assert files.conf(loops.NAME) not in scripts(changes[:-1])


def test_what_is_gone_is_nothing_to_do_and_what_stayed_is() -> None:
    have = loops.machine()
    pool = going(have, loops.NAME)
    assert undo.plan(bare(have), pool) == []
    left = msgspec.structs.replace(bare(have), pool=PoolFact(data=have.pool.data))
    assert "remove /srv/pool/data and /srv/pool/meta, 10.0G" in whys(undo.plan(left, pool))
    assert undo.plan(msgspec.structs.replace(bare(have), pool=PoolFact(table=have.pool.table)), pool)


@pytest.mark.parametrize("have", [loops.machine(), with_disk(groups.made())])
def test_what_an_interrupted_reset_left_empty_goes_too(have: Facts) -> None:
    (conf,) = (path for path in have.files if path.startswith(files.CONF_DIR))
    left = msgspec.structs.replace(bare(have), files={conf: have.files[conf]})
    name = conf.rpartition("/")[2].removesuffix(".conf")
    script = scripts(undo.plan(left, going(left, name)))
    for path in ("containerd.service.d", f"{files.unit(name)}.wants", files.SCRIPT.rpartition("/")[0], files.CONF_DIR):
        assert re.search(rf"rmdir \S*{re.escape(path)};", script), path
    assert re.search(rf"^rm -f .*{files.SCRIPT}( |$)", script, re.MULTILINE)
    assert script.index("daemon-reload") < script.rindex(conf)


def test_another_pool_keeps_what_they_share_and_another_daemon_what_it_has() -> None:
    have = loops.machine()
    changes = undo.plan(have, going(have, loops.NAME, last=False, uses=False))
    assert files.SCRIPT not in scripts([change for change in changes if change.why.startswith("remove")])
    assert "containerd.service" not in changes[0].why
    assert "io.containerd" not in scripts(changes)
    assert "metadata.db" not in scripts(changes)


@pytest.mark.parametrize(
    ("made", "done"),
    [
        ("volume filesystem mount", ["is not mounted at boot", "unmount /srv/pool", "remove /dev/vg/lv, 15.0G"]),
        ("filesystem mount", ["is not mounted at boot", "unmount /srv/pool", "no file system on /dev/vg/lv"]),
        ("mount", ["is not mounted at boot", "unmount /srv/pool"]),
        ("", []),
    ],
)
def test_of_a_volume_goes_what_was_made(made: str, done: list[str]) -> None:
    line = volume.fstab("/dev/vg/lv", "/srv/pool")
    table = FileFact(f"# a comment\nUUID=1 / ext4 defaults 0 1\n{line}\n", 0o664)
    now = PoolFact(volume=Under(group_free=0, size=15 * GIB, filesystem="ext4", mounted="/srv/pool"))
    have = msgspec.structs.replace(loops.machine(now), files={volume.FSTAB: table})
    changes = volume.undone(have, {"VOLUME": "vg/lv", "VOLUME_MADE": made}, "/srv/pool")
    assert [why in change.why for why, change in zip(done, changes, strict=True)] == [True] * len(done)
    if changes:
        assert isinstance(changes[0], File)
        assert changes[0].content == "# a comment\nUUID=1 / ext4 defaults 0 1\n"
        assert changes[0].mode == 0o664


@pytest.mark.parametrize(
    ("now", "recorded", "made"),
    [
        (Under(group_free=1), "", ("volume", "filesystem", "mount")),
        (Under(group_free=1, size=1), "volume filesystem mount", ("volume", "filesystem", "mount")),
        (Under(group_free=1, size=1), "", ("filesystem", "mount")),
        (Under(group_free=1, size=1, filesystem="ext4", mounted="/d"), "", ()),
        (Under(group_free=1, size=1, filesystem="ext4", mounted="/d"), "mount", ("mount",)),
        (None, "volume", ("volume",)),
    ],
)
def test_what_is_made_of_a_volume_is_recorded_before_and_stays_so(
    now: Under | None, recorded: str, made: tuple[str, ...]
) -> None:
    assert volume.made(now, {"VOLUME_MADE": recorded}) == made


def test_a_direct_pool_takes_its_group_and_its_disks_along() -> None:
    have = with_disk(groups.made())
    changes = undo.plan(have, going(have, DIRECT))
    assert whys(changes)[1:4] == [
        "remove containerd/thinpool, 16.0G",
        "remove the volume group containerd",
        "wipe /dev/vdb (vdb-serial)",
    ]
    look = scripts(changes[3:4])
    assert "signature LVM2_member,0x218," in look
    assert "dm-0" not in look  # what it says once the group is gone
    assert undo.plan(bare(have), going(have, DIRECT)) == []


def test_a_group_that_was_there_or_holds_something_else_stays() -> None:
    have = with_disk(groups.made())
    assert have.lvm
    assert have.lvm.group
    other = have.lvm.group.volumes | {"mine": Volume("mine", "linear", 1 << 30)}
    assert "remove_vg" not in scripts(undo.plan(groups.with_group(have, volumes=other), going(have, DIRECT)))
    pool = going(have, DIRECT)
    theirs = msgspec.structs.replace(pool, settings=pool.settings | {"OWN_GROUP": "no"})
    given_back = scripts(undo.plan(have, theirs))
    assert "remove_vg" not in given_back
    assert "leave_vg containerd group-uuid /dev/vdb physical-uuid" in given_back
    none = msgspec.structs.replace(pool, settings=pool.settings | {"OWN_GROUP": "no", "DISKS": ""})
    assert "/dev/vdb" not in scripts(undo.plan(have, none))


def test_only_the_recorded_disks_are_wiped() -> None:
    for changes in ({"serial": "another"}, {"size": 1}):
        have = with_disk(groups.made(), **changes)
        assert "blank_pv" not in scripts(undo.plan(have, going(have, DIRECT)))
    have = with_disk(groups.made())
    assert have.lvm
    elsewhere = msgspec.structs.replace(have.lvm, physical={"/dev/vdb": "another"})
    assert "blank_pv" not in scripts(undo.plan(msgspec.structs.replace(have, lvm=elsewhere), going(have, DIRECT)))


def test_metadata_that_a_repair_kept_goes_and_nothing_like_it() -> None:
    have = groups.made()
    assert have.lvm
    assert have.lvm.group
    names = ["thinpool_meta0", "thinpool_before_20260101T000000Z", "thinpool_metal", "other_meta0"]
    more = have.lvm.group.volumes | {name: Volume(name, "linear", 1 << 20) for name in names}
    removed = undo.plan(groups.with_group(have, volumes=more), going(have, DIRECT))[1].why
    assert removed.startswith(f"remove containerd/thinpool, containerd/{names[0]}, containerd/{names[1]},")


def test_thin_volumes_of_lvms_own_and_two_groups_of_a_name_are_refused() -> None:
    have = groups.made()
    assert have.lvm
    with pytest.raises(Refused, match="not containerd's alone"):
        undo.plan(groups.with_volume(have, thins=1), going(have, DIRECT))
    twice = msgspec.structs.replace(have.lvm, groups=have.lvm.groups * 2)
    with pytest.raises(Refused, match="2 volume groups are named containerd"):
        undo.plan(msgspec.structs.replace(have, lvm=twice), going(have, DIRECT))


def test_a_look_that_differs_stops_the_wipe() -> None:
    have = with_disk(groups.made())
    wipe = next(change for change in undo.plan(have, going(have, DIRECT)) if change.why.startswith("wipe"))
    assert isinstance(wipe, Command)
    assert wipe.functions == gate.functions()
    assert wipe.script.startswith("blank_pv /dev/vdb ")
    assert wipe.script.endswith(f" /dev/vdb {20 * GIB} physical-uuid")
