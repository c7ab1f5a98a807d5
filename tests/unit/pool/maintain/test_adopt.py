"""A pool created by something else is adopted as it is, or refused with everything that cannot be proved about it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile import keyvalue, sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts import config as configs
from fabfile.facts.files import FileFact
from fabfile.facts.instances import DevmapperSettings, Instances
from fabfile.facts.pool import Backing, Place, Pool, Status, Table
from fabfile.facts.under import Loop
from fabfile.instance import Daemon
from fabfile.plan import Command, File
from fabfile.pool import units
from fabfile.pool.loop import loop_pool, spec
from fabfile.pool.loop.spec import LoopSpec
from fabfile.pool.maintain import adopt
from fabfile.sizes import GIB, MIB
from tests.unit.pool import groups
from tests.unit.pool.machines import POOLS, Make, done, trouble
from tests.unit.steps.conftest import having

DIR, DAEMON = "/srv/theirs", Daemon()
DATA, META = 100 * GIB, 10 * GIB
LOOPS = {what: Loop(number, 0, f"{DIR}/{what}", False, "8:1", inode)
         for what, number, inode in (("data", "7:0", 11), ("meta", "7:1", 12))}  # fmt: skip


def backing(what: str, **changes: Any) -> Backing:
    """One of its files."""
    of = LOOPS[what]
    file = Backing(DATA if what == "data" else META, 0, what == "meta", (of.number,), of.device, of.inode)
    return msgspec.structs.replace(file, **changes)


def pool(**changes: Any) -> Pool:
    """The pool of containerd's documentation."""
    well = Pool(
        table=Table("thin-pool", DATA // 512, "7:1", "7:0", 128, 32768),
        status=Status(10, META // 4096, 100, DATA // 65536, "rw", needs_check=False, when_full="queue"),
        data=backing("data"), meta=backing("meta"),
        data_loop=LOOPS["data"], meta_loop=LOOPS["meta"], place=Place("ext4", "/", 500 * GIB, "uuid"),
    )  # fmt: skip
    return msgspec.structs.replace(well, **changes)


def theirs(now: Pool | None = None, names: str = "devpool", root: str = DIR) -> Facts:
    """A machine with that pool, and a containerd that is configured for it."""
    found = Instances({DAEMON.config_path: DevmapperSettings("", names, root, "10GB")}, {}, frozenset({"devpool"}))
    return having(pool=now or pool(), instances=found)


def want() -> LoopSpec:
    return spec.wanted(name="devpool", dir=DIR, size="100G", meta_size="10G", block_size="64K")


def refusal(have: Facts, *elsewhere: str) -> str:
    with pytest.raises(Refused) as caught:
        adopt.plan(have, want(), DAEMON, list(elsewhere))
    return caught.value.details


def test_an_adopted_pool_is_recorded_by_identity_and_nothing_is_created() -> None:
    plan = adopt.plan(theirs(), want(), DAEMON, [])
    assert isinstance(plan[0], File) and plan[0].path == units.conf("devpool")
    settings = keyvalue.settings(plan[0].content)
    known = {"MAKING": "no", "FS_UUID": "uuid", "MOUNT": "/", "DATA_INO": "11", "META_INO": "12", "DIR_MADE": "no"}
    assert known.items() <= settings.items()
    assert {type(change) for change in plan[1:-1]} == {File}
    assert isinstance(plan[-1], Command)
    for word in ("truncate", "fallocate", "dmsetup", "losetup", "mkfs", "rm "):
        assert word not in plan[-1].script
    assert any(isinstance(change, File) and change.path == DAEMON.drop_in_path for change in plan)


def test_what_was_adopted_is_a_pool_like_any_other() -> None:
    have = adopted(theirs(), want())
    assert adopt.plan(have, want(), DAEMON, []) == []
    assert loop_pool.plan(have, want(), None) == []


def adopted(have: Facts, asked: LoopSpec) -> Facts:
    """The same machine after the adoption."""
    for change in adopt.plan(have, asked, DAEMON, []):
        if isinstance(change, File):
            have = msgspec.structs.replace(
                have, files=have.files | {change.path: FileFact(change.content, change.mode)}
            )
    pools = {"devpool": keyvalue.settings(have.files[units.conf("devpool")].content)}
    now = msgspec.structs.replace(have.pool, active=True, enabled=True, monitor=True)
    return msgspec.structs.replace(
        have,
        pool=now,
        instances=msgspec.structs.replace(have.instances, settings=pools, backing={"devpool": f"{DIR}/data"}),
        needs=frozenset(adopt.TOOLS),
    )


@pytest.mark.parametrize(
    ("data", "meta", "now_data", "says"),
    [
        (DATA, META, DATA, f'set name = "devpool", dir = "{DIR}", meta_size = "10G" in'),
        (DATA, 75 * MIB, DATA, f'set name = "devpool", dir = "{DIR}" in'),
        (4 * GIB, 6 * MIB, 4 * GIB, f'set name = "devpool", dir = "{DIR}", size = "4G" in'),
        (4 * GIB, 6 * MIB, 5 * GIB, f'set name = "devpool", dir = "{DIR}", size = "4G" in'),
    ],
)
def test_only_what_a_deploy_would_not_want_anyway_is_to_be_stated(
    machine: Make, capsys: pytest.CaptureFixture[str], data: int, meta: int, now_data: int, says: str
) -> None:
    """Also of a pool that was adopted before; the last one has grown by itself since."""

    def there(data: int) -> Pool:
        table = Table("thin-pool", data // 512, "7:1", "7:0", 128, 32768)
        status = Status(10, meta // 4096, 100, data // 65536, "rw", needs_check=False, when_full="queue")
        files = {"data": backing("data", size=data), "meta": backing("meta", size=meta, allocated=meta)}
        return pool(table=table, status=status, **files)

    asked = spec.wanted(
        name="devpool", dir=DIR, size=sizes.exact(data), meta_size=sizes.exact(meta), block_size="64K"
    )  # fmt: skip
    have = adopted(theirs(there(data)), asked)
    now = msgspec.structs.replace(there(now_data), active=True, enabled=True, monitor=True)
    report = done("pool.adopt", machine(msgspec.structs.replace(have, pool=now)), name="devpool")
    assert report.status == "ok", report.error
    said = capsys.readouterr().out
    assert "ok       pool.adopt" in said
    assert says in said


def test_a_direct_pool_of_ours_needs_no_adoption(machine: Make, capsys: pytest.CaptureFixture[str]) -> None:
    c = machine(POOLS[groups.NAME]())
    assert done("pool.adopt", c, name=groups.NAME).status == "ok"
    assert 'set variant = "direct" in its pool in ' in capsys.readouterr().out
    assert trouble(done("pool.adopt", c, name=groups.NAME, instance="two"), "refused").what.endswith(
        "was made for the default containerd"
    )


def test_a_direct_pool_of_somebody_else_is_not_to_be_fixed() -> None:
    with pytest.raises(Refused) as caught:
        adopt.plan(theirs(pool(data_loop=None, meta_loop=None)), want(), DAEMON, [])
    assert "pool.adopt" not in caught.value.hint


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ({"table": None}, "there is no active thin pool devpool"),
        ({"data_loop": None}, "its data device 7:0 is no loop device: only a pool on files can be adopted"),
        ({"meta_loop": msgspec.structs.replace(LOOPS["meta"], deleted=True)}, f"is on {DIR}/meta (deleted)"),
        ({"meta_loop": msgspec.structs.replace(LOOPS["meta"], file="/srv/m")}, "is on /srv/m, not on"),
        ({"data": backing("data", inode=99)}, "is another file than /dev/loop0"),
        ({"meta": backing("meta", loops=("7:1", "7:9"))}, "2 loop devices: 7:1, 7:9"),
        ({"data": backing("data", size=DATA * 2)}, f"{DATA * 2} bytes"),
        ({"suspended": True}, "it is not healthy: rw, suspended"),
        ({"table": Table("thin-pool", DATA // 512, "7:1", "7:0", 128, 0, "queue", ("x", "y"))}, "its table has x, y"),
        ({"place": Place("ext4", "/", 500 * GIB, "")}, "has no UUID"),
    ],
)  # fmt: skip
def test_what_cannot_be_proved_is_refused(now: dict[str, Any], says: str) -> None:
    assert says in refusal(theirs(pool(**now)))


def test_a_pool_with_another_owner_or_another_way_to_boot_is_refused() -> None:
    assert "names the pool other: whose is it?" in refusal(theirs(names="other"))
    assert "names no pool: whose is it?" in refusal(theirs(names=""))
    assert f"databases in /else, and the pool's files are in {DIR}" in refusal(theirs(root="/else"))
    assert "x.service brings it up" in refusal(theirs(), "x.service brings it up")


def test_what_containerd_itself_reports_counts() -> None:
    have = theirs(names="", root="")
    config = configs.Config((), {"pool_name": "devpool", "root_path": f"{DIR}/", "base_image_size": "8GB"})
    assert adopt.used(msgspec.structs.replace(have, config=config), DAEMON) == ("devpool", DIR, "8GB")
    assert adopt.used(having(), DAEMON) == ("", "", "")
