"""Corrections reconcile pool, databases and device mapper: what is intact stays, and one round is enough."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.bolt import load
from fabfile.boltwriter import content
from fabfile.pool.maintain import thin_devices
from fabfile.pool.maintain.corrections import corrections
from fabfile.pool.maintain.database_files import Files
from fabfile.pool.maintain.disagreements import lines, orphans
from fabfile.pool.maintain.thin_devices import DatabaseEntry, MappedDevice, Snapshot, Thin, View
from tests.unit.pool import databases


def compared(
    ids: set[int],
    entries: list[DatabaseEntry],
    there: list[Snapshot],
    devices: tuple[MappedDevice, ...] = (),
    last: int = 99,
) -> tuple[View, Files]:
    files = Files(databases.pool({of.name: of for of in entries}, last), databases.snapshots(there, last))
    return msgspec.structs.replace(
        thin_devices.known(files), ids={id: Thin(1, id) for id in ids}, devices=devices
    ), files


def entry(number: int, id: int, state: str = "Deactivated") -> DatabaseEntry:
    return DatabaseEntry(id, f"pool-snap-{number}", "", state, 10 << 30)


def snapshot(number: int, parent: int = 0) -> Snapshot:
    return Snapshot(number, f"default/{number}/key", "Committed", f"default/{parent}/key" if parent else "")


def test_consistent_records_need_no_correction() -> None:
    seen, files = compared({1}, [entry(1, 1)], [snapshot(1)])
    assert not corrections(seen, files, orphans(seen, running=False)).changes


def test_an_entry_without_a_snapshot_is_removed_with_its_device_and_id() -> None:
    device = MappedDevice("pool-snap-4", 3, open=False, number="254:7")
    seen, files = compared({1, 3}, [entry(1, 1), entry(4, 3, "Activated")], [snapshot(1)], (device,))
    todo = corrections(seen, files, orphans(seen, running=False))
    assert (todo.devices, todo.ids, todo.lost) == ((device,), (3,), ())
    assert todo.files.snapshots is None
    assert todo.files.pool is not None
    assert list(thin_devices.database(todo.files.pool)) == ["pool-snap-1"]
    marks = content(load(todo.files.pool)).at(b"device_ids")
    assert (marks.items, marks.sequence) == ({b"1": b"\1", b"3": b"\0"}, 99)


def test_a_device_that_is_open_keeps_its_id_and_its_entry() -> None:
    device = MappedDevice("pool-snap-4", 3, open=True)
    seen, files = compared({3}, [entry(4, 3, "Activated")], [], (device,))
    assert not corrections(seen, files, orphans(seen, running=False)).changes


def test_an_id_that_two_entries_name_stays() -> None:
    seen, files = compared({3}, [entry(1, 3), entry(4, 3)], [snapshot(1)])
    todo = corrections(seen, files, orphans(seen, running=False))
    assert todo.ids == ()
    assert todo.files.pool is not None
    assert content(load(todo.files.pool)).at(b"device_ids").items == {b"3": b"\1"}


def test_a_lost_device_is_marked_and_its_id_not_assigned_again() -> None:
    seen, files = compared({1}, [entry(1, 1), entry(2, 2)], [snapshot(1), snapshot(2)])
    todo = corrections(
        seen, files, orphans(seen, running=False), [seen.database["pool-snap-1"]] if seen.database else []
    )
    assert todo.lost == ("default/1/key", "default/2/key")
    assert todo.ids == (1,)  # stale: what is under its id is another device's
    assert todo.files.pool is not None
    after = thin_devices.database(todo.files.pool)
    assert {of.state for of in after.values()} == {"Faulty"}
    assert content(load(todo.files.pool)).at(b"device_ids").items == {b"1": b"\2", b"2": b"\2"}
    assert b"a field of later versions" in todo.files.pool


def test_a_snapshot_without_an_entry_is_removed_unless_another_is_based_on_it() -> None:
    seen, files = compared({2}, [entry(2, 2)], [snapshot(1), snapshot(2, 1), snapshot(3)])
    todo = corrections(seen, files, orphans(seen, running=False))
    assert todo.lost == ("default/1/key", "default/3/key")
    assert todo.files.snapshots is not None
    assert sorted(thin_devices.snapshots(todo.files.snapshots)) == [1, 2]
    assert list(content(load(todo.files.snapshots)).at(b"v1", b"parents").items.values()) == [b"default/2/key"]


def test_counters_that_lag_behind_are_set() -> None:
    seen, files = compared({7}, [entry(5, 7)], [snapshot(5)], last=2)
    todo = corrections(seen, files, orphans(seen, running=False))
    assert todo.files.pool is not None
    assert todo.files.snapshots is not None
    after = thin_devices.known(todo.files)
    assert (after.last_id, after.last_number) == (7, 5)


states = st.sampled_from(
    ["Created", "Activated", "Deactivated", "Deactivating", "Faulty", "Creating", "Suspended", "Removing", "Removed"]
)


@given(
    st.sets(st.integers(1, 12)),
    st.dictionaries(st.integers(1, 12), st.tuples(st.integers(1, 12), states)),
    st.dictionaries(st.integers(1, 12), st.integers(0, 3)),
    st.sets(st.integers(1, 12)),
    st.integers(0, 14),
)
def test_corrections_leave_only_losses(
    ids: set[int], made: dict[int, tuple[int, str]], there: dict[int, int], active: set[int], last: int
) -> None:
    entries = [entry(number, id, state) for number, (id, state) in made.items()]
    # A parent has a lower number.
    owners = [snapshot(n, p if p in there and p < n else 0) for n, p in there.items()]
    devices = tuple(MappedDevice(f"pool-snap-{n}", n, open=n % 5 == 0, number=f"254:{n}") for n in active)
    seen, files = compared(ids, entries, owners, devices, last)
    todo = corrections(seen, files, orphans(seen, running=False))
    # Nothing that is intact and that a snapshot owns is touched.
    whole = {of.id for of in entries if of.id in ids and number(of) in there and of.state not in thin_devices.FAULTY}
    assert not whole & set(todo.ids)
    opened = {device.id for device in devices if device.open}
    assert not opened & set(todo.ids)
    assert not any(device.open for device in todo.devices if device.name not in (seen.database or {}))
    after = Files(todo.files.pool or files.pool, todo.files.snapshots or files.snapshots)
    now = msgspec.structs.replace(
        thin_devices.known(after),
        ids={id: thin for id, thin in seen.ids.items() if id not in todo.ids},
        devices=tuple(device for device in devices if device not in todo.devices),
    )
    left = orphans(now, running=False)
    assert not left.behind
    assert not left.entries  # marked
    assert not (set(left.ids) - opened)
    assert all(of.name in {device.name for device in devices if device.open} for of in left.unowned)
    again = corrections(now, after, left)
    assert not (set(again.ids) - set(todo.ids)), "done in one go"


def number(of: DatabaseEntry) -> int:
    return int(of.name.rpartition("-")[2])


def test_a_faulty_entry_with_an_intact_device_is_marked_good() -> None:
    """What containerd could not activate while the pool did not respond is not lost."""
    layer, of = (
        entry(1, 1, "Faulty"),
        DatabaseEntry(2, "pool-snap-2", "pool-snap-1", "Faulty", 10 << 30, "invalid argument"),
    )
    running = Snapshot(2, "default/2/c", "Active", "default/1/key")
    seen, files = compared({1, 2}, [layer, of], [snapshot(1), running])
    todo = corrections(seen, files, orphans(seen, running=False))
    assert (todo.devices, todo.ids, todo.lost) == ((), (), ())
    assert todo.files.pool is not None
    after = thin_devices.database(todo.files.pool)
    assert [(one.state, one.error) for one in after.values()] == [("Deactivated", ""), ("Activated", "")]
    assert content(load(todo.files.pool)).at(b"device_ids").items == {b"1": b"\1", b"2": b"\1"}
    again = msgspec.structs.replace(thin_devices.known(Files(todo.files.pool, files.snapshots)), ids=seen.ids)
    assert not orphans(again, running=False).count


def test_of_two_entries_with_one_id_none_is_marked_good() -> None:
    """Both would be activated on one device, and write over each other."""
    seen, files = compared({2}, [entry(1, 2, "Faulty"), entry(2, 2, "Faulty")], [snapshot(1), snapshot(2)])
    todo = corrections(seen, files, orphans(seen, running=False))
    after = thin_devices.database(todo.files.pool or files.pool or b"")
    assert "Deactivated" not in {one.state for one in after.values()}


def test_a_faulty_entry_without_blocks_or_with_an_incomplete_device_is_lost() -> None:
    first = Snapshot(1, "default/1/key", "Active", "")
    for ids, there in (({2}, snapshot(1)), ({1, 2}, first)):
        seen, files = compared(ids, [entry(1, 1, "Faulty"), entry(9, 2)], [there, snapshot(9)])
        assert corrections(seen, files, orphans(seen, running=False)).lost == ("default/1/key",)


@pytest.mark.parametrize("state", sorted(thin_devices.MOVING))
def test_an_entry_that_the_next_start_would_mark_faulty_is_marked_good_before_it(state: str) -> None:
    """containerd was stopped in the middle, or gave up, as when it removes a device that somebody holds open."""
    seen, files = compared({1, 2}, [entry(1, 1), entry(2, 2, state)], [snapshot(1), snapshot(2)])
    assert not orphans(seen, running=True).count
    found = orphans(seen, running=False)
    assert [of.name for of in found.faulty] == ["pool-snap-2"]
    assert lines(found, seen, 4096) == [
        f"entry pool-snap-2: {state}; thin id 2: 4.0K in the pool, snapshot default/2/key"
    ]
    todo = corrections(seen, files, found)
    assert (todo.devices, todo.ids, todo.lost) == ((), (), ())
    assert todo.files.pool is not None
    assert thin_devices.database(todo.files.pool)["pool-snap-2"].state == "Deactivated"


def test_a_device_that_maps_something_else_is_removed_only_if_it_can_be_activated_anew() -> None:
    wrong = (MappedDevice("pool-snap-1", 7, open=False), MappedDevice("pool-snap-2", None, open=False, target="error"))
    others = (MappedDevice("pool-snap-3", 8, open=True), MappedDevice("pool-snap-4", None, open=False, target="linear"))
    seen, files = compared(
        {1, 2, 3, 4},
        [entry(n, n, "Activated") for n in (1, 2, 3, 4)],
        [snapshot(n) for n in (1, 2, 3, 4)],
        wrong + others,
    )
    assert corrections(seen, files, orphans(seen, running=False)).devices == wrong
