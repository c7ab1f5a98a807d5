"""What a restore loses: what was created or changed since the backup, and which images and containers are affected."""

from __future__ import annotations

import msgspec

from fabfile.pool.maintain import changes_since, containerd_records, thin_devices
from fabfile.pool.maintain.containerd_records import Affected, Container, Image, SnapshotRecord
from fabfile.pool.maintain.thin_devices import DatabaseEntry, Snapshot, View
from tests.unit.pool import databases


def known(entries: dict[int, int], kinds: dict[int, str]) -> View:
    """A view made of snapshot number → thin id, and number → kind."""
    names = {f"pool-snap-{n}": DatabaseEntry(id, f"pool-snap-{n}", "", "Activated", 1) for n, id in entries.items()}
    return View({}, (), names, {n: Snapshot(n, f"default/{n}/k", kind) for n, kind in kinds.items()})


def stale(now: View, then: list[View], ids: set[int]) -> list[str]:
    return [entry.name for entry in changes_since.stale(now, then, ids)]


def test_what_did_not_change_is_kept() -> None:
    state = known({1: 1, 3: 2}, {1: "Committed", 3: "Active"})
    assert stale(state, [state], {1, 2}) == []


def test_an_id_that_was_another_devices_is_lost_although_the_backup_has_it() -> None:
    then, now = known({1: 1, 3: 2}, {1: "Committed", 3: "Active"}), known({1: 1, 5: 2}, {1: "Committed", 5: "Active"})
    assert stale(now, [then], {1, 2}) == ["pool-snap-5"]
    assert stale(now, [], {1, 2}) == []  # a backup without copies: nobody can tell
    assert stale(now, [], {1}) == ["pool-snap-5"]


def test_a_layer_that_was_still_being_written_is_lost() -> None:
    then, now = known({4: 2}, {4: "Active"}), known({4: 2}, {4: "Committed"})
    assert stale(now, [then], {2}) == ["pool-snap-4"]
    assert stale(then, [then], {2}) == []


def test_only_what_was_the_same_before_and_after_the_backup_counts() -> None:
    now = known({4: 2}, {4: "Active"})
    assert stale(now, [now, known({}, {})], {2}) == ["pool-snap-4"]


def test_an_entry_without_a_device_loses_nothing() -> None:
    faulty = known({4: 2}, {4: "Active"})
    entries = {name: msgspec.structs.replace(of, state="Faulty") for name, of in (faulty.database or {}).items()}
    assert stale(msgspec.structs.replace(faulty, database=entries), [], set()) == []


SNAPSHOTS = {
    "base": ("default/1/base", ""),
    "top": ("default/2/top", "base"),
    "other": ("default/3/other", "base"),
    "box": ("default/4/box", "top"),
}


def affected(lost: list[str], containers: dict[str, str] | None = None) -> Affected:
    there = containerd_records.read(
        databases.records(SNAPSHOTS, {"image": "top", "another": "other"}, containers or {})
    )
    return containerd_records.affected(there, lost)


def keys(found: tuple[SnapshotRecord, ...]) -> list[str]:
    return [one.key for one in found]


def test_what_containerd_knows_is_read() -> None:
    there = containerd_records.read(databases.records(SNAPSHOTS, {"image": "top"}, {"c": "box"}))
    assert there.images == (Image("default", "image", "sha256:m-image", ("top",)),)
    assert there.containers == (Container("default", "c", "box"),)
    assert set(keys(there.snapshots)) == set(SNAPSHOTS)
    assert containerd_records.read(None) == containerd_records.Records()


def test_the_top_snapshot_of_an_image_is_removed_alone() -> None:
    means = affected(["default/3/other"], {"c": "box"})
    assert (keys(means.remove), keys(means.stay)) == (["other"], [])
    assert [image.name for image in means.images] == ["another"]
    assert means.containers == ()


def test_a_base_takes_its_images_along_children_first_where_no_container_needs_them() -> None:
    means = affected(["default/1/base", "default/4/box"], {"c": "box"})
    assert keys(means.remove) == ["box", "other", "top", "base"]
    assert [image.name for image in means.images] == ["another", "image"]
    assert [container.name for container in means.containers] == ["c"]


def test_a_container_whose_own_device_is_whole_keeps_what_it_stands_on() -> None:
    means = affected(["default/1/base"], {"c": "box"})
    assert (keys(means.remove), keys(means.stay)) == (["other"], ["base"])
    assert "snapshot base in the namespace default: lost, and kept by those on it" in changes_since.meaning(means)


def test_the_consequences_are_described() -> None:
    now = known({4: 7}, {4: "Active"})
    said = changes_since.lines(changes_since.stale(now, [], set()), now, affected(["default/4/box"], {"c": "box"}))
    assert said == [
        "pool-snap-4: made or changed since, thin id 7 (Activated), snapshot default/4/k",
        "container c in the namespace default: its file system is lost",
    ]


def test_databases_are_read_as_they_were_written() -> None:
    there = [Snapshot(1, "default/1/a", "Committed"), Snapshot(300, "default/2/b", "Active", "default/1/a")]
    assert thin_devices.snapshots(databases.snapshots(there, 300)) == {of.number: of for of in there}
