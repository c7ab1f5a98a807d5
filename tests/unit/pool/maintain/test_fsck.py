"""Inconsistencies among thin devices that only some of pool, databases and device mapper know."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from invoke import Context

from fabfile.bolt import Broken
from fabfile.errors import Refused
from fabfile.facts.query import Query
from fabfile.pool.maintain import actions, comparison, database_files, disagreements, fsck, thin_devices
from fabfile.pool.maintain.actions import InspectedPool
from fabfile.pool.maintain.disagreements import Orphans
from fabfile.pool.maintain.thin_devices import DatabaseEntry, MappedDevice, Snapshot, Thin, View
from tests.unit.pool.loops import NAME, machine, record

FOUND = InspectedPool(NAME, Query().daemon, record(), "/srv/pool", Query(), machine())


def entry(id: int, state: str = "Activated", name: int = 0) -> DatabaseEntry:
    return DatabaseEntry(id, f"pool-snap-{name or id}", "", state, 10 << 30)


def seen(ids: list[int], devices: list[MappedDevice], entries: list[DatabaseEntry], **changes: Any) -> View:
    """A view, with snapshots for all entries unless others are given."""
    numbers = [disagreements.number(of.name) for of in entries]
    view = View(
        {id: Thin(16, id) for id in ids},
        tuple(devices),
        {entry.name: entry for entry in entries},
        {n: Snapshot(n, f"default/{n}/key", "Active") for n in numbers},
        max(ids + [of.id for of in entries], default=0),
        max(numbers, default=0),
    )
    return msgspec.structs.replace(view, **changes)


@given(st.sets(st.integers(1, 99)), st.data(), st.booleans())
def test_consistent_records_have_no_inconsistencies(ids: set[int], data: st.DataObject, running: bool) -> None:
    active = data.draw(st.sets(st.sampled_from(sorted(ids)))) if ids else set()
    devices = [MappedDevice(f"pool-snap-{id}", id, open=True) for id in active]
    entries = [entry(id, "Activated" if id in active else "Deactivated") for id in sorted(ids)]
    assert disagreements.orphans(seen(sorted(ids), devices, entries), running=running).count == 0


def test_each_kind_is_named() -> None:
    stranger, busy = MappedDevice("pool-lost", 3, open=False), MappedDevice("pool-snap-44", 4, open=True)
    mixed, error = (
        MappedDevice("pool-snap-1", 9, open=False),
        MappedDevice("pool-snap-5", None, open=True, target="error"),
    )
    faulty = DatabaseEntry(6, "pool-snap-6", "", "Faulty", 1, "no space")
    view = seen(
        [1, 3, 4, 5, 6, 7, 8],
        [stranger, busy, mixed, error],
        [entry(1), entry(2), entry(5), faulty, entry(8)],
        snapshots={n: Snapshot(n, f"default/{n}/k", "Active") for n in (1, 2, 5, 6, 11)},
        holders={"pool-snap-44": ("pool-snap-44 is open in tail (pid 7)",)},
        last_id=7,
        last_number=5,
    )
    result = disagreements.orphans(view, running=False)
    assert result == Orphans(
        ids=(3, 7),
        devices=(stranger,),
        busy=(busy,),
        entries=(entry(2),),
        mixed=(mixed, error),
        unowned=(entry(8),),
        bare=(view.snapshots[11],) if view.snapshots else (),
        faulty=(faulty,),
        behind=(
            "containerd's next thin id is 8, and 8 is in use",
            "the snapshotter's next number is 6, and 6 is in use",
        ),
    )
    text = "\n".join(disagreements.lines(result, view, 1 << 16))
    for line in (
        "thin id 7: 1.0M in the pool, no entry",
        "device pool-snap-44: the same, and it is open: pool-snap-44 is open in tail (pid 7)",
        "entry pool-snap-2: thin id 2 (Activated) is not in the pool, snapshot default/2/k",
        "pool-snap-1: it has thin id 9, its entry 1",
        "pool-snap-5: it has target error, its entry 5",
        "entry pool-snap-8: thin id 8 (Activated), 1.0M in the pool, no snapshot owns it",
        "snapshot default/11/k: number 11, no entry",
        "entry pool-snap-6: Faulty: no space; thin id 6: 1.0M in the pool, snapshot default/6/k",
    ):
        assert line in text


def test_what_is_in_use_keeps_its_id() -> None:
    assert disagreements.orphans(seen([4], [MappedDevice("other", 4, open=True)], []), running=False).ids == ()


def test_a_transitional_entry_is_not_judged_while_containerd_runs() -> None:
    moving = seen([], [], [entry(1, "Activating")])
    assert disagreements.orphans(moving, running=True).count == 0
    assert disagreements.orphans(moving, running=False).entries == (entry(1, "Activating"),)


def test_a_snapshot_that_is_being_created_is_not_judged() -> None:
    making = seen(
        [1, 2], [MappedDevice("pool-snap-2", 2, open=True)], [entry(1, "Deactivated"), entry(2)], last_number=1
    )
    making = msgspec.structs.replace(making, snapshots={1: Snapshot(1, "k", "Committed")})
    assert disagreements.orphans(making, running=True).count == 0
    assert disagreements.orphans(making, running=False).unowned == (entry(2),)


def test_only_what_two_comparisons_share_counts() -> None:
    first, second = Orphans(ids=(1, 2), unowned=(entry(3),)), Orphans(ids=(2, 4), unowned=(entry(3, "Created"),))
    assert disagreements.agreed(first, second) == Orphans(ids=(2,))


class Outputs:
    """Outputs of a machine for one comparison after the other, and the generation that each was made for."""

    def __init__(self, *printed: str) -> None:
        self.printed, self.generations = list(printed), list[str]()

    def do(self, c: object, task: str, pool: InspectedPool, plan: object, *, read_only: bool) -> str:
        assert read_only
        self.generations.append(pool.have.system.generation)
        return self.printed.pop(0)


@pytest.mark.parametrize(
    ("outputs", "left"),
    [
        (["id 5 0 7"] * 3, (5,)),  # nobody's, at every look
        (["id 5 0 7", "id 5 0 8"], ()),  # two devices, each just being made
        (["id 5 0 7", "id 5 0 7", ""], ()),
        ([""], ()),
    ],
)
def test_a_thin_id_counts_only_if_it_is_the_same_device_every_time(
    monkeypatch: pytest.MonkeyPatch, outputs: list[str], left: tuple[int, ...]
) -> None:
    machine = Outputs(*outputs)
    monkeypatch.setattr(actions, "do", machine.do)
    monkeypatch.setattr(comparison, "APART", 0)
    result = comparison.compare(Context(), "pool.fsck", FOUND, running=True)
    assert result.found.ids == left
    assert machine.printed == []
    first = int(FOUND.have.system.generation)
    assert machine.generations == [str(first + n) for n in range(len(outputs))], "no look is thrown away for our own"


def test_containerds_own_cleanup_is_left_alone() -> None:
    removed = seen([2], [], [entry(2, "Removed")], snapshots={})
    assert disagreements.orphans(removed, running=False).count == 0
    assert disagreements.orphans(seen([], [], [entry(2, "Removed")], snapshots={}), running=False).unowned


def test_an_active_entry_without_a_device_counts_while_containerd_runs() -> None:
    view = seen([1], [], [entry(1)])
    assert disagreements.orphans(view, running=True).inactive == (entry(1),)
    assert disagreements.orphans(view, running=False).count == 0


def test_an_id_whose_device_is_older_than_its_entry_is_found() -> None:
    # Id 1 was the first device's, which was removed; the snapshot with the highest number got the id. Then came a
    # restore.
    entries = [entry(2, "Deactivated"), entry(3, "Deactivated"), entry(1, "Deactivated", name=9)]
    assert disagreements.orphans(seen([1, 2, 3], [], entries), running=False).older == (entries[2],)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=20))
def test_devices_in_the_order_of_their_snapshots_are_never_older(steps: list[int]) -> None:
    created = [sum(steps[: n + 1]) for n in range(len(steps))]
    entries = [entry(n + 1, "Deactivated") for n in range(len(steps))]
    view = msgspec.structs.replace(seen([], [], entries), ids={n + 1: Thin(1, at) for n, at in enumerate(created)})
    assert disagreements.orphans(view, running=False).count == 0


@pytest.mark.parametrize("state", sorted(thin_devices.GONE - {"Faulty"}))
def test_an_entry_that_needs_no_device_is_no_orphan(state: str) -> None:
    found = disagreements.orphans(seen([], [], [entry(1, state)]), running=state in thin_devices.MOVING)
    assert found.count == 0


def test_a_missing_or_empty_database_deletes_nothing() -> None:
    missing = View({1: Thin(5)}, (), None)
    with pytest.raises(Refused, match=r"pool\.db is missing"):
        fsck.refuse_all(FOUND, disagreements.orphans(missing, running=False), missing, yes=False)
    fsck.refuse_all(FOUND, disagreements.orphans(missing, running=False), missing, yes=True)
    half = View({1: Thin(5)}, (), {}, None)
    with pytest.raises(Refused, match=r"metadata\.db is missing"):
        fsck.refuse_all(FOUND, disagreements.orphans(half, running=False), half, yes=False)
    for view in (View({1: Thin(5)}, (), {}, {}), seen([1], [], [entry(1)], snapshots={})):
        with pytest.raises(Refused, match="are these the right databases"):
            fsck.refuse_all(FOUND, disagreements.orphans(view, running=False), view, yes=False)
        fsck.refuse_all(FOUND, disagreements.orphans(view, running=False), view, yes=True)


@pytest.mark.parametrize(
    ("left", "says"),
    [
        (Orphans(entries=(entry(2),)), "pool.fsck --name pool --fix"),
        (Orphans(busy=(MappedDevice("held", 1, open=True),)), "end who has the device open, then inv pool.fsck"),
        (Orphans(mixed=(MappedDevice("held", None, open=True),)), "end who has the device open"),
        (
            Orphans(mixed=(MappedDevice("pool-snap-1", None, open=False, target="error"),)),
            "inv pool.fsck --name pool --fix",
        ),
        (
            Orphans(mixed=(MappedDevice("pool-snap-1", None, open=False, target="linear"),)),
            "dmsetup rename pool-snap-1 ",
        ),
        (Orphans(older=(entry(1),)), "pull that image again"),
        (Orphans(ids=(1,)), "pool.fsck --name pool --fix"),
        (Orphans(), ""),
    ],
)
def test_the_fix(left: Orphans, says: str) -> None:
    assert says in fsck.remedy(FOUND, left)
    assert bool(says) == bool(fsck.remedy(FOUND, left))


def test_lines_of_the_script_are_parsed_and_others_ignored() -> None:
    found = thin_devices.parse(
        [
            "id 1 16 3", "dm pool-snap-1 1 0 thin 254:1", "dm pool-snap-2 - 2 error 254:2", "a warning", "",
        ]
    )  # fmt: skip
    devices = (
        MappedDevice("pool-snap-1", 1, open=False, number="254:1"),
        MappedDevice("pool-snap-2", None, open=True, target="error", number="254:2"),
    )
    assert found == View({1: Thin(16, 3)}, devices, None)
    assert thin_devices.holders(["a warning", "held p-snap-2 p-snap-2 is swap", "held p-snap-2 x"]) == {
        "p-snap-2": ("p-snap-2 is swap", "x")
    }


def packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    "hostile",
    [
        packed(gzip.compress(b"no bolt file")),
        packed(gzip.compress(b"x" * 1000)[:-9]),
        packed(b"no gzip"),
        "no base64 !",
        packed(gzip.compress(bytes(database_files.LARGEST + 1), 9)),
    ],
    ids=["no bolt", "cut", "no gzip", "no base64", "bomb"],
)
def test_a_copy_that_is_not_a_database_is_broken(hostile: str) -> None:
    with pytest.raises(Broken):
        thin_devices.parse([f"db {hostile}"])


NUMBERS = st.lists(st.sampled_from(["1", "-", "²", "x", "-1", "99999999999"]), max_size=6).map(" ".join)


@given(st.lists(st.sampled_from(["id ", "dm ", "held "]).flatmap(lambda key: NUMBERS.map(lambda rest: key + rest))))
def test_invalid_numbers_are_broken(lines: list[str]) -> None:
    try:
        assert isinstance(thin_devices.parse(lines), View)
    except Broken as broken:
        assert "is not understood" in str(broken)


@given(st.lists(st.text(max_size=30) | st.binary(max_size=30).map(lambda data: f"snap {packed(data)}"), max_size=8))
def test_any_output_is_parsed_or_broken(lines: list[str]) -> None:
    try:
        assert isinstance(thin_devices.parse(lines), View)
    except Broken as broken:
        assert str(broken)


@given(st.binary(max_size=12))
def test_a_number_is_decoded_as_go_encodes_it(data: bytes) -> None:
    try:
        assert 0 <= thin_devices.uvarint(data) < 1 << 64
    except Broken as broken:
        assert "is not a number" in str(broken)


@given(st.integers(0, (1 << 64) - 1))
def test_every_number_is_decoded_as_it_was_encoded(number: int) -> None:
    parts, rest = [], number
    while rest >= 0x80:
        parts.append(rest & 0x7F | 0x80)
        rest >>= 7
    assert thin_devices.uvarint(bytes([*parts, rest])) == number
