"""What a pool could be created on: the words of the refusals, for every disk and volume group."""

from __future__ import annotations

import json

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts import disks
from fabfile.facts.lvm import Lvm
from fabfile.facts.query import Query
from fabfile.facts.volume_group import VolumeGroup
from fabfile.output.json_document import as_json
from fabfile.pool.lvm.candidates import offers, table
from fabfile.pool.safety import disk_checks
from tests.unit.fakes import recorded
from tests.unit.pool.groups import SETTINGS, empty
from tests.unit.steps.conftest import having

LOOKS = disks.parse(recorded("disks", "catalogue"))
GROUP = VolumeGroup("uuid", 4 << 20, 74, 74, 0, "wz--n-", "", ("/dev/vdc",), {}, "data")


def test_every_disk_is_offered_or_says_what_its_refusal_says() -> None:
    found = {offer.device: offer for offer in offers(having(disks=LOOKS))}
    assert len(found) > 20
    for disk in LOOKS:
        offer = found[disk.real]
        if offer.verdict == "available":
            disk_checks.refuse(disk, wipe=False)
            continue
        with pytest.raises(Refused) as refused:
            disk_checks.refuse(disk, wipe=False)
        assert refused.value.details.splitlines() == list(offer.against)
        assert offer.wipe == ("--wipe" in refused.value.hint)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ()),
        ({"system": "web1"}, ("it belongs to the host 'web1'",)),
        ({"missing": 1}, ("1 of its disks are missing",)),
        ({"free": 10}, ("too little is free: 40.0M, at least 128M",)),
        ({"closed_free": 70, "closed": ("/dev/vdc",)}, ("too little is free: 16.0M, at least 128M",)),
    ],
)
def test_a_group_is_offered_by_what_is_free_in_it(change: dict[str, object], says: tuple[str, ...]) -> None:
    (offer,) = offers(having(lvm=Lvm(SETTINGS, every=(msgspec.structs.replace(GROUP, **change),))))
    assert offer.against == says
    assert (offer.kind, offer.name) == ("group", "data")


def test_a_group_whose_name_is_refused_is_not_offered() -> None:
    (offer,) = offers(having(lvm=Lvm(SETTINGS, every=(msgspec.structs.replace(GROUP, name="my+vg"),))))
    assert offer.against[0].startswith("pool.vg: 'my+vg' is not a name")


def test_groups_of_one_name_are_refused_as_their_use_is() -> None:
    twin = msgspec.structs.replace(GROUP, uuid="other", devices=("/dev/vdd",))
    found = offers(having(lvm=Lvm(SETTINGS, every=(GROUP, twin))))
    assert [offer.against for offer in found] == [("2 volume groups are named data",)] * 2


def test_it_is_shown_by_its_stable_name_and_as_json() -> None:
    disk = empty(links=("/dev/disk/by-id/nvme-X",), model="Model 1", exclusive=True)
    shown = table(offers(having(disks=(disk, empty("/dev/vdd")))))
    assert shown.splitlines() == [
        "disk   /dev/disk/by-id/nvme-X  20.0G  /dev/vdb Model 1: no",
        "         opened exclusively, by a file system, an array or another service of the kernel",
        "disk   /dev/vdd  20.0G  /dev/vdd: available",
    ]
    (offer, *_) = json.loads(as_json(offers(having(disks=(disk,)))))
    assert (offer["device"], offer["size"], offer["wipe"]) == ("/dev/vdb", 20 << 30, False)
    assert table([]) == "no disk and no volume group"


def test_names_that_are_told_of_a_disk_are_no_part_of_the_look() -> None:
    (disk,) = disks.parse(f"{empty().seen}\nmodel A B\nlink /dev/disk/by-id/a\nlink /dev/disk/by-id/b\n")
    assert (disk.model, disk.links) == ("A B", ("/dev/disk/by-id/a", "/dev/disk/by-id/b"))
    assert disk.seen == empty().seen
    assert "lsblk -n -p -r -e 1,11" in disks.fragment(Query(all_disks=True))
