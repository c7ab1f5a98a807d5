"""What pool.fsck says of thin devices that only some of pool, database and device mapper know."""

from __future__ import annotations

import base64
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.bolt import Broken
from fabfile.errors import Refused
from fabfile.facts import Query
from fabfile.steps.pool import fsck, view
from fabfile.steps.pool.action import Found
from fabfile.steps.pool.fsck import orphans
from fabfile.steps.pool.view import Device, Entry, View
from tests.unit.steps.pool.loops import NAME, machine

FOUND = Found(NAME, Query().daemon, {"VARIANT": "loop"}, "/srv/pool", Query(), machine())


def entry(id: int, state: str = "Activated") -> Entry:
    return Entry(id, f"pool-snap-{id}", "", state, 10 << 30)


def seen(ids: list[int], devices: list[Device], entries: list[Entry]) -> View:
    return View(dict.fromkeys(ids, 16), tuple(devices), {entry.name: entry for entry in entries})


@given(st.sets(st.integers(1, 99)), st.data())
def test_where_all_three_agree_there_is_nothing(ids: set[int], data: st.DataObject) -> None:
    active = data.draw(st.sets(st.sampled_from(sorted(ids)))) if ids else set()
    devices = [Device(f"pool-snap-{id}", id, open=True) for id in active]
    assert orphans(seen(list(ids), devices, [entry(id) for id in ids]), running=False).count == 0


def test_each_kind_is_named() -> None:
    stranger, busy = Device("pool-lost", 3, open=False), Device("pool-held", 4, open=True)
    mixed = Device("pool-snap-1", 9, open=False)
    found = seen([1, 3, 4, 7], [stranger, busy, mixed], [entry(1), entry(2)])
    result = orphans(found, running=False)
    assert result == fsck.Orphans((3, 7), (stranger,), (busy,), (entry(2),), (mixed,))
    text = "\n".join(fsck.lines(result, found, 1 << 16))
    assert "thin id 7: 1.0M in the pool, no entry" in text
    assert "device pool-held: the same, and it is open" in text
    assert "entry pool-snap-2: thin id 2 (Activated) is not in the pool" in text
    assert "pool-snap-1: it has thin id 9, its entry 1" in text


def test_what_is_in_use_keeps_its_id() -> None:
    assert orphans(seen([4], [Device("other", 4, open=True)], []), running=False).ids == ()


def test_an_entry_in_work_is_not_judged_while_containerd_runs() -> None:
    moving = seen([], [], [entry(1, "Activating")])
    assert orphans(moving, running=True).count == 0
    assert orphans(moving, running=False).entries == (entry(1, "Activating"),)


@pytest.mark.parametrize("state", sorted(view.GONE))
def test_an_entry_that_needs_no_device_is_no_orphan(state: str) -> None:
    assert orphans(seen([], [], [entry(1, state)]), running=False).count == 0


def test_a_database_that_is_missing_or_knows_nothing_deletes_nothing() -> None:
    missing = View({1: 5}, (), None)
    with pytest.raises(Refused, match="is not there"):
        fsck.refuse_all(FOUND, orphans(missing, running=False), missing, yes=True)
    stranger = View({1: 5}, (), {})
    with pytest.raises(Refused, match="is it the right database"):
        fsck.refuse_all(FOUND, orphans(stranger, running=False), stranger, yes=False)
    fsck.refuse_all(FOUND, orphans(stranger, running=False), stranger, yes=True)


@pytest.mark.parametrize(
    ("left", "says"),
    [
        (fsck.Orphans(entries=(entry(2),)), "snapshots --snapshotter devmapper rm KEY"),
        (fsck.Orphans(busy=(Device("held", 1, open=True),)), "findmnt -S /dev/mapper/held"),
        (fsck.Orphans(ids=(1,)), "pool.fsck --fix"),
        (fsck.Orphans(), ""),
    ],
)
def test_the_way_out(left: fsck.Orphans, says: str) -> None:
    assert says in fsck.way_out(FOUND, left)
    assert bool(says) == bool(fsck.way_out(FOUND, left))


def test_lines_of_the_script_are_read_and_other_talk_is_not() -> None:
    found = view.parse(["id 1 16", "dm pool-snap-1 1 0", "dm pool-snap-2 2 1", "a warning of some tool", ""])
    assert found == View({1: 16}, (Device("pool-snap-1", 1, open=False), Device("pool-snap-2", 2, open=True)), None)
    with pytest.raises(Broken):
        view.parse([f"db {base64.b64encode(gzip.compress(b'no bolt file')).decode()}"])
