"""pool.fsck from end to end: containerd is stopped only for a repair, and runs afterwards."""

from __future__ import annotations

import msgspec
import pytest

from fabfile.facts.containerd import Containerd
from fabfile.pool.maintain import comparison
from tests.unit.pool import groups
from tests.unit.pool.loops import NAME
from tests.unit.pool.machines import (
    POOLS,
    Make,
    both,
    copies,
    done,
    on_files,
    packed,
    trouble,
    with_status,
    without,
)

LOOK = "the four records of the thin devices"
STOP = "stop containerd.service: no device is created meanwhile"
BACKUP = "a backup first"
DIRECTORY = {NAME: "/srv/pool", groups.NAME: "/var/lib/containerd/devmapper"}
REMOVE = "remove 0 devices and 1 thin ids"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two comparisons of a pool in use."""
    monkeypatch.setattr(comparison, "APART", 0)


def start(name: str) -> str:
    return f"start the pool {name} and containerd.service"


def records(name: str, ids: tuple[int, ...], known: tuple[int, ...] = (1, 2), box: int = 0) -> str:
    """Output for a pool with the thin ids `ids`, of which containerd knows `known`."""
    return "".join(f"id {id} 16 {id}\n" for id in ids) + copies(name, known, box=box)


def whole(name: str) -> list[str]:
    """Everything that a repair does if no thin id has an owner, in order."""
    return [LOOK] * 3 + [STOP, LOOK, BACKUP, REMOVE, start(name), LOOK]


@both
def test_consistent_records_are_compared_once(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says={LOOK: records(name, (1, 2))})
    report = done("pool.fsck", c, fix=True)
    assert (report.status, c.done) == ("ok", [LOOK])
    assert report.result.orphans.count == 0
    assert sorted(report.result.seen.ids) == [1, 2]


@both
def test_without_fix_a_difference_is_found_three_times_and_nothing_is_changed(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says={LOOK: records(name, (1, 2, 7))})
    report = done("pool.fsck", c)
    error = trouble(report, "failed")
    assert error.what == f"pool {name}: 1 inconsistency" and "pool.fsck" in error.hint and "--fix" in error.hint
    assert c.done == [LOOK] * 3
    assert report.result.orphans.ids == (7,)
    assert {step.status for step in report.steps} == {"ok"}


@both
def test_a_repair_stops_containerd_backs_up_and_starts_it_again(machine: Make, name: str) -> None:
    wrong = records(name, (1, 2, 7))
    c = machine(POOLS[name](), says={LOOK: [wrong] * 4 + [records(name, (1, 2))]})
    report = done("pool.fsck", c, fix=True)
    assert (report.status, c.done) == ("changed", whole(name))
    assert report.result.orphans.count == 0, "the result is what is left"


@pytest.mark.parametrize("broken", [LOOK, BACKUP, REMOVE])
@both
def test_whatever_fails_while_containerd_is_stopped_it_is_started_again(
    machine: Make, name: str, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [records(name, (1, 2, 7))] * 3
    if broken == LOOK:
        c = machine(POOLS[name](), says={LOOK: [*wrong, packed(db=b"no database")]})
    else:
        c = machine(POOLS[name](), says={LOOK: wrong}, fails={broken: 1, "start the pool": 1})
    report = done("pool.fsck", c, fix=True)
    error = trouble(report, "failed")
    unread = f"{DIRECTORY[name]}/{name}.db or {DIRECTORY[name]}/metadata.db cannot be read"
    assert error.what == (unread if broken == LOOK else f"pool.fsck: {broken}: failed")
    at = 4 if broken == LOOK else whole(name).index(broken)
    assert c.done == [*whole(name)[: at + 1], start(name)]
    assert ("start the pool" in capsys.readouterr().err) == (broken != LOOK), "that it does not start is said"
    assert report.result is None


@both
def test_a_stop_that_would_kill_containers_is_refused(machine: Make, name: str) -> None:
    have = POOLS[name]()
    runs = ("container one runs, in the namespace default",)
    daemon = msgspec.structs.replace(have.containerd, kill_mode="control-group", containers=runs)
    c = machine(msgspec.structs.replace(have, containerd=daemon), says={LOOK: records(name, (1, 2, 7))})
    error = trouble(done("pool.fsck", c, fix=True), "refused")
    assert error.what == "a stop of containerd.service would kill its containers"
    assert STOP not in c.done


@both
def test_an_empty_database_does_not_empty_the_pool_without_yes(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says={LOOK: records(name, (7, 8), known=())})
    error = trouble(done("pool.fsck", c, fix=True), "refused")
    assert error.what == f"none of the 2 thin devices of {name} is in containerd's databases"
    assert "--yes" in error.hint
    assert c.done == [*whole(name)[:5], start(name)], "nothing was removed, and containerd runs again"


def test_an_empty_database_empties_the_pool_with_yes(machine: Make) -> None:
    empty = records(NAME, (7, 8), known=())
    c = machine(on_files(), says={LOOK: [empty] * 4 + [records(NAME, (), known=())]})
    assert done("pool.fsck", c, fix=True, yes=True).status == "changed"
    assert "remove 0 devices and 2 thin ids" in c.done


@both
def test_a_container_whose_file_system_is_lost_is_a_failure_after_the_repair(machine: Make, name: str) -> None:
    wrong = records(name, (1,), box=2)
    c = machine(POOLS[name](), says={LOOK: [wrong] * 4 + [records(name, (1,), known=(1,))]})
    error = trouble(done("pool.fsck", c, fix=True), "failed")
    assert error.what == f"pool {name}: repaired, but 1 containers have lost their file system"
    assert "ctr -n default containers rm box" in error.hint
    forget = next(why for why in c.done if why.startswith("containerd forgets 1 lost snapshots"))
    assert c.done.index(start(name)) < c.done.index(forget), "only a containerd that runs can"


def test_what_a_repair_leaves_is_a_failure(machine: Make) -> None:
    c = machine(on_files(), says={LOOK: records(NAME, (1, 2, 7))})
    report = done("pool.fsck", c, fix=True)
    assert trouble(report, "failed").what == f"pool {NAME}: 1 inconsistency"
    assert c.done[: len(whole(NAME))] == whole(NAME) and report.result.orphans.ids == (7,)


def test_one_comparison_is_enough_while_containerd_is_stopped(machine: Make) -> None:
    c = machine(msgspec.structs.replace(on_files(), containerd=Containerd()), says={LOOK: records(NAME, (1, 2, 7))})
    assert trouble(done("pool.fsck", c), "failed").what == f"pool {NAME}: 1 inconsistency"
    assert c.done == [LOOK]


@pytest.mark.parametrize("now", ["ro", "Fail"])
@both
def test_a_damaged_pool_is_not_compared(machine: Make, name: str, now: str) -> None:
    c = machine(with_status(POOLS[name](), mode=now))
    error = trouble(done("pool.fsck", c, fix=True), "failed")
    assert error.what == f"the pool {name} cannot be compared with anything" and "pool.repair" in error.hint
    assert c.done == []


def test_a_missing_program_is_refused_first(machine: Make) -> None:
    c = machine(without(on_files(), "thin_ls"))
    assert trouble(done("pool.fsck", c, fix=True), "refused").what.startswith("thin_ls is missing")
    assert c.done == []


@pytest.mark.parametrize("fix", [False, True])
@both
def test_dry_does_not_read_the_databases(machine: Make, name: str, fix: bool) -> None:
    c = machine(POOLS[name](), dry=True)
    report = done("pool.fsck", c, fix=fix)
    assert (report.status, c.done) == ("pending", [])
    assert "apply" not in c.log


@both
def test_a_pool_that_seems_to_have_lost_everything_is_not_given_up_without_yes(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says={LOOK: records(name, (), known=(1, 2))})
    error = trouble(done("pool.fsck", c, fix=True), "refused")
    assert error.what == f"none of the 2 thin devices that containerd uses is in the pool {name}"
    assert "--yes" in error.hint
    assert c.done == [*whole(name)[:5], start(name)], "nothing was removed, and containerd runs again"
    c = machine(POOLS[name](), says={LOOK: [records(name, (), known=(1, 2))] * 4 + [records(name, (), known=())]})
    assert done("pool.fsck", c, fix=True, yes=True).status == "changed"
