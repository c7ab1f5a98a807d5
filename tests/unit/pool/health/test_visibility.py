"""A direct pool that LVM does not see, sees under another name, or would not activate again: each by its cause."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.known import DatabaseCounts
from fabfile.facts.lvm import Hidden
from fabfile.facts.pool import Pool as Now
from fabfile.facts.units import Unit, Units
from fabfile.facts.volume_group import LogicalVolume
from fabfile.pool import units
from fabfile.pool.health import usable
from fabfile.pool.health.findings import pool_findings
from tests.unit import typed
from tests.unit.pool import groups
from tests.unit.pool.groups import NAME, PV, RW, made, with_group, with_volume

GROUP, VOLUME = "G" * 32, "V" * 32
RECORD = groups.RECORD | {"DISKS": "serial,21474836480"}
UP = f"LVM-{GROUP}{VOLUME}-tpool"


def recorded(have: Facts, **identity: str) -> Facts:
    """The machine with the pool among its records, and with the identity that device mapper shows."""
    pools = msgspec.structs.replace(have.instances, settings={NAME: RECORD | identity})
    pool = have.pool if have.pool.uuid else msgspec.structs.replace(have.pool, uuid=UP if have.pool.status else "")
    return msgspec.structs.replace(have, instances=pools, pool=pool)


def lvm(have: Facts, **changes: Any) -> Facts:
    assert have.lvm
    return msgspec.structs.replace(have, lvm=msgspec.structs.replace(have.lvm, **changes))


def setting(key: str, value: str, have: Facts | None = None, **changes: Any) -> Facts:
    have = have or made()
    assert have.lvm
    return lvm(have, settings=have.lvm.settings | {key: value}, **changes)


def hidden(key: str, value: str) -> Facts:
    return setting(key, value, groups=(), physical={}, hidden={"/dev/vdb": Hidden(PV, "containerd", GROUP)})


def with_thin(have: Facts) -> Facts:
    """The machine with a thin volume of LVM's own in the pool."""
    assert have.lvm and have.lvm.group
    other = LogicalVolume("other", "thin", 1 << 30, pool="thinpool", thin=1, uuid="u-1")
    return with_group(have, volumes=have.lvm.group.volumes | {"other": other})


UP_AT_3 = msgspec.structs.replace(made().pool, status=msgspec.structs.replace(RW, transaction=3))


def disabled(have: Facts) -> Facts:
    return msgspec.structs.replace(have, pool=msgspec.structs.replace(have.pool, enabled=False))


CASES = {
    "devices file": (hidden("use_devicesfile", "1"), "/etc/lvm/devices/system.devices", "lvmdevices --adddev /dev/vdb"),
    "filter": (hidden("global_filter", '["r|vdb|"]'), 'lvm.conf says global_filter = ["r|vdb|"]', "a|^/dev/vdb$|"),
    "one of its disks": (
        setting(
            "filter",
            '["r|vdc|"]',
            with_volume(with_group(made(), missing=1), partial=True),
            hidden={"/dev/vdc": Hidden("other", "containerd", GROUP), "/dev/vdd": Hidden("x", "containerd", "F" * 32)},
        ),
        'LVM ignores /dev/vdc of containerd: lvm.conf says filter = ["r|vdc|"]',
        "let them through in /etc/lvm/lvm.conf: a|^/dev/vdc$|",
    ),
    "volume_list": (setting("volume_list", '["other"]'), 'volume_list = ["other"]', 'add "containerd/thinpool"'),
    "one string": (setting("volume_list", "other"), "does not activate containerd/thinpool", "volume_list"),
    "read-only": (setting("read_only_volume_list", '["containerd"]'), "would be read-only", "take it out"),
    "renamed volume": (
        lvm(with_group(made(), volumes={}), names={GROUP: "containerd", VOLUME: "containerd/other"}),
        "containerd/thinpool is now called containerd/other",
        "lvrename containerd other thinpool",
    ),
    "renamed group": (
        lvm(made(), groups=(), names={GROUP: "new", VOLUME: "new/thinpool"}),
        "is now called new/thinpool",
        "vgrename new containerd",
    ),
    "merged": (
        lvm(made(), groups=(), names={"R" * 32: "root", VOLUME: "root/thinpool"}),
        "containerd/thinpool was moved to another volume group: it is root/thinpool now",
        "vgsplit -n thinpool root containerd",
    ),
    "another host's": (
        with_group(made(), system="old"),
        "belongs to the host 'old', and this host has no system ID: LVM does not activate containerd/thinpool",
        """local/system_id="old"' --systemid '' containerd""",
    ),
    "exported": (with_group(made(), attr="wzx-n-"), "the volume group containerd is exported", "vgimport containerd"),
    "both": (
        lvm(made(), groups=(), names={GROUP: "new", VOLUME: "new/other"}),
        "is now called new/other",
        "vgrename new containerd && lvrename containerd other thinpool",
    ),
    "gone": (
        lvm(made(), groups=(), said=('Volume group "containerd" not found',)),
        'LVM knows no volume group containerd: Volume group "containerd" not found; it was made on serial,21474836480',
        "inv pool.reset --name containerd-thinpool --yes",
    ),
    "suspended": (
        lvm(made(), groups=(), suspended=("a", "b")),
        "LVM cannot be queried while a b is suspended",
        "dmsetup resume a b",
    ),
    "no report": (
        lvm(made(), groups=(), failed="Parse error at byte 9; Failed to load config file /etc/lvm/lvm.conf"),
        "LVM does not report: Parse error at byte 9; Failed to load config file /etc/lvm/lvm.conf",
        "fix that, in /etc/lvm/lvm.conf",
    ),
    "busy": (
        lvm(made(), groups=(), busy=True), "LVM did not answer within 60 s: another of its", "lslocks | grep /lvm/"
    ),
    "copied disk": (
        lvm(made(), said=(f"WARNING: Not using device /dev/vdc for PV {PV}.", f"WARNING: PV {PV} prefers /dev/vdb")),
        "two disks have one identity: WARNING: Not using device /dev/vdc",
        "vgimportclone",
    ),
    "missing disk": (
        lvm(with_volume(with_group(made(), missing=1), partial=True), said=("WARNING: VG containerd is missing PV x "
            "(last written to /dev/vdc).",)),
        "missing PV x (last written to /dev/vdc)",
        "bring the disks back",
    ),
    "a disk that came back": (
        lvm(with_volume(with_group(made(), missing=1), partial=True), said=(
            "WARNING: VG other was previously updated while PV /dev/vdd was missing.",
            "WARNING: VG containerd was previously updated while PV /dev/vdc was missing.",
            "WARNING: VG containerd was missing PV /dev/vdc x.",
        )),
        "LVM counts /dev/vdc of containerd as missing, as the group was changed without it; the pool was on them",
        "vgextend --restoremissing containerd /dev/vdc",
    ),
    "one that came back, one that did not": (
        lvm(with_volume(with_group(made(), missing=2), partial=True), said=(
            "WARNING: VG containerd was previously updated while PV /dev/vdc was missing.",
        )),
        "2 disks of containerd are missing",
        "bring the disks back",
    ),
    "another name of the host": (
        lvm(with_group(made(), system="old"), system="new"),
        "belongs to the host 'old', and this host has the system ID 'new': LVM does not activate containerd/thinpool",
        "--config 'global/system_id_source=\"lvmlocal\" local/system_id=\"old\"' --systemid new containerd",
    ),
    "no name of the host": (
        lvm(with_group(made(), system="old"), system=""), "this host has no system ID", "--systemid '' containerd"
    ),
    "thin volumes": (
        with_thin(made()), "thin volumes of its own in containerd/thinpool: other (thin id 1)", "pool.repair --name"
    ),
    "a count of changes": (
        with_volume(msgspec.structs.replace(made(), pool=UP_AT_3), transaction=3), "expects transaction id 3", "pool.re"
    ),
    "an older record of LVM's": (
        with_volume(made(), meta=51 << 22), "208.0M of metadata, LVM gives it 204.0M", "vgcfgrestore --list containerd"
    ),
    "transaction": (
        with_volume(made(), transaction=7), "transaction id is 0, LVM expects 7", "pool.repair --name"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("identity", "found", "hint"),
    [
        ({}, "its creation was interrupted", "inv pool.direct; or inv pool.reset"),
        ({"VG_UUID": "g"}, "its removal was interrupted", "to finish that: inv pool.reset --name containerd-thinpool"),
        ({"LV_UUID": "v"}, "its removal was interrupted", "to finish that: inv pool.reset --name containerd-thinpool"),
    ],
)
def test_what_was_complete_and_is_gone_was_being_removed(identity: dict[str, str], found: str, hint: str) -> None:
    (said,) = pool_findings(recorded(disabled(lvm(made(), groups=())), **identity), NAME)
    assert said.found.endswith(found) and said.hint.startswith(hint)
    assert typed.wrong(said.hint) == []


def test_a_copy_of_another_groups_disk_is_only_told() -> None:
    said = "WARNING: Not using device /dev/vdc for PV abcdef-7890-abcd-efgh-ijkl-mnop-qrstuv."
    have = recorded(lvm(made(), said=(said,)))
    assert [(one.result, one.found) for one in pool_findings(have, NAME)] == [("warn", said)]
    assert usable.plan(have, NAME) == []


@pytest.mark.parametrize("case", CASES)
def test_the_cause_and_the_fix(case: str) -> None:
    have, found, hint = CASES[case]
    (said,) = pool_findings(recorded(have), NAME)
    assert said.result == "fail"
    assert found in said.found
    assert hint in said.hint
    assert typed.wrong(said.hint) == []
    with pytest.raises(Refused) as refused:
        usable.plan(recorded(have), NAME)
    assert said.found in refused.value.details


@pytest.mark.parametrize(
    ("names", "hint"), [({}, "bring the pool's own disks back"), ({"ours": "aside/thinpool"}, "called aside/thinpool")]
)
def test_another_volume_of_the_same_names_is_not_taken_for_the_pool(names: dict[str, str], hint: str) -> None:
    have = recorded(lvm(with_volume(made(), uuid="theirs"), names=names), LV_UUID="our-s")
    known = DatabaseCounts(entries=1, snapshots=1, records=1, blocks=0)
    (said,) = pool_findings(msgspec.structs.replace(have, known=known), NAME)
    assert "on /dev/vdb is another volume than the recorded one: its UUID is theirs, recorded our-s" in said.found
    assert hint in said.hint and typed.wrong(said.hint) == []
    for ids in (True, False):
        with pytest.raises(Refused):
            usable.refuse_unusable(have, NAME, ids=ids)


WELL = {
    "as made": made(),
    "the group is listed": setting("volume_list", '["other", "containerd"]'),
    "the volume is listed": setting("volume_list", '["containerd/thinpool"]'),
    "a tag is listed": setting("volume_list", '["@ours"]', with_volume(made(), tags=("ours",))),
    "not read-only": setting("read_only_volume_list", '["other"]'),
    "the same transaction": with_volume(made(), transaction=0),
}


@pytest.mark.parametrize("case", WELL)
def test_a_pool_that_lvm_would_activate_again_has_no_findings(case: str) -> None:
    assert pool_findings(recorded(WELL[case]), NAME) == []
    assert usable.plan(recorded(WELL[case]), NAME) == []


def test_a_missing_disk_of_others_is_a_warning() -> None:
    have = recorded(lvm(with_group(made(), missing=1), said=("WARNING: VG containerd is missing PV x.",)))
    (said,) = pool_findings(have, NAME)
    assert (said.result, "the pool itself is whole" in said.found) == ("warn", True)
    assert usable.plan(have, NAME) == []


def test_a_renamed_pool_that_is_down_is_known_by_what_was_recorded() -> None:
    have = lvm(msgspec.structs.replace(made(), pool=Now()), groups=(), names={GROUP: "new", VOLUME: "new/thinpool"})
    dashed = f"{VOLUME[:6]}-{VOLUME[6:]}"
    found = [one.found for one in pool_findings(recorded(have, LV_UUID=dashed), NAME)]
    assert found[0] == "containerd/thinpool is now called new/thinpool"
    assert found[1].startswith("it is down")


def test_one_that_is_down_says_why_in_the_words_of_its_unit() -> None:
    unit = Unit("loaded", "failed", "exit-code", last="LVM did not activate it: x")
    have = msgspec.structs.replace(made(), pool=Now(), units=Units({units.unit(NAME): unit}))
    (said,) = pool_findings(recorded(have), NAME)
    assert said.found == "it is down: its unit failed (exit-code): LVM did not activate it: x"
    assert said.hint.startswith(f"systemctl restart {units.unit(NAME)} && systemctl start containerd.service; ")
    assert typed.commands(said.hint) == ["inv pool.check --name containerd-thinpool"]
