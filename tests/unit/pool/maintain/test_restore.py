"""pool.restore from end to end: what is refused before the stop, and what is started again."""

from __future__ import annotations

import msgspec
import pytest

from fabfile.facts import Facts
from fabfile.pool.maintain.restore import Restored
from tests.unit import typed
from tests.unit.pool import groups
from tests.unit.pool.loops import NAME
from tests.unit.pool.machines import POOLS, Make, both, copies, done, on_files, packed, trouble, with_pool, without

LIVE = "a snapshot of its live metadata"
DROPPED = "remove the new metadata, which is not used"
SOURCE = "/srv/copies/20261127T120000Z.xml.gz"
NEW = {NAME: "/srv/pool/meta.candidate", groups.NAME: "/dev/containerd/thinpool_before_1"}


def says(
    name: str, *, sound: bool = False, then: tuple[int, ...] = (1, 2), now: tuple[int, ...] = (1, 2)
) -> dict[str, str]:
    """Outputs of a machine whose backup has the snapshots `then`, and whose containerd has those of `now`."""
    ids = "".join(f"id {number} 16 {number}\n" for number in then)
    made = f"{ids}{copies(name, then, 'then-')}@candidate 7200 4711 {NEW[name]}\n@source {SOURCE}"
    return {
        "thin_check": f"@ids 0 0\n@checked {int(not sound)} {LIVE}",
        "new metadata from": made,
        "devices that containerd uses": copies(name, now, box=max(now)),
        "the new metadata takes": "@kept /srv/pool/meta.before",
        "the four records": ids + copies(name, now, box=max(now)),
    }


def whole(name: str) -> list[str]:
    """Everything that a restore without losses does, in order."""
    return [
        f"thin_check of the pool {name}",
        "new metadata from the newest backup",
        "devices that containerd uses",
        f"stop containerd.service and the pool {name}",
        "the new metadata takes the place of the old, which is kept",
        f"start the pool {name} and containerd.service",
        "the four records of the thin devices",
        "the databases fit the restored metadata",
        f"start the pool {name} and containerd.service",
        "keep at most 2 old copies of the metadata",
    ]


@both
def test_the_metadata_is_replaced_while_containerd_and_the_pool_are_stopped(
    machine: Make, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    c = machine(POOLS[name](), says=says(name))
    report = done("pool.restore", c)
    assert (report.status, c.done) == ("changed", whole(name))
    assert report.result == Restored(SOURCE, 7200, ())
    said = capsys.readouterr().out
    assert "2 h 0 min old" in said and "the old metadata: /srv/pool/meta.before" in said


@pytest.mark.parametrize("at", [3, 4])
@both
def test_whatever_fails_before_the_metadata_is_replaced_is_told_as_it_is_and_all_is_started_again(
    machine: Make, name: str, at: int
) -> None:
    broken = whole(name)[at]
    c = machine(POOLS[name](), says=says(name), fails={broken: 1})
    error = trouble(done("pool.restore", c), "failed")
    assert error.what == f"pool.restore: {broken}: failed"
    assert c.done == [*whole(name)[: at + 1], f"start the pool {name} and containerd.service"]
    assert "is not started" not in error.details


def begun(name: str) -> Facts:
    """A machine on which a restore has replaced the metadata and is not finished."""
    have = POOLS[name]()
    return msgspec.structs.replace(have, units=msgspec.structs.replace(have.units, unfinished=SOURCE))


@pytest.mark.parametrize("at", [5, 6, 7])
@both
def test_one_that_has_begun_says_how_to_go_on(machine: Make, name: str, at: int) -> None:
    broken = whole(name)[at]
    c = machine(begun(name), says=says(name), fails={broken: 1})
    error = trouble(done("pool.restore", c, yes=True), "failed")
    assert error.what == f"pool.restore: {broken}: failed"
    assert c.done[: at + 1] == whole(name)[: at + 1]
    assert "containerd.service is not started" in error.details
    (again,) = typed.commands(error.hint)
    assert again.endswith(f"--from {SOURCE} --yes")


@both
def test_a_database_that_cannot_be_read_then_leaves_containerd_stopped(machine: Make, name: str) -> None:
    c = machine(begun(name), says=says(name) | {"the four records": packed(db=b"no database")})
    error = trouble(done("pool.restore", c), "failed")
    assert "cannot be read" in error.what and "containerd.service is not started" in error.details
    assert c.done == [*whole(name)[:7], f"start the pool {name} and containerd.service"]


def test_the_first_error_is_reported_where_the_start_fails_too(
    machine: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    c = machine(on_files(), says=says(NAME), fails={"the new metadata takes": 1, "start the pool": 1})
    error = trouble(done("pool.restore", c), "failed")
    assert error.what == f"pool.restore: {whole(NAME)[4]}: failed"
    assert c.done == [*whole(NAME)[:5], "start the pool pool and containerd.service"]
    assert "start the pool pool and containerd.service: failed" in capsys.readouterr().err


def test_the_first_error_is_reported_where_the_machine_is_lost_after_it(
    machine: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    c = machine(on_files(), says=says(NAME), fails={"the new metadata takes": 1})
    c.lost_at = "start the pool pool and containerd.service"
    error = trouble(done("pool.restore", c), "failed")
    assert error.what == f"pool.restore: {whole(NAME)[4]}: failed"
    assert "is off" in capsys.readouterr().err


@both
def test_what_was_made_since_is_listed_and_needs_yes(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says=says(name, then=(1,)))
    error = trouble(done("pool.restore", c), "refused")
    assert error.what == f"{SOURCE} lacks what containerd has made or changed since"
    for line in (
        f"{name}-snap-2: made or changed since",
        "container box in the namespace default: its file system is lost",
    ):
        assert line in error.details
    assert f"{name}-snap-1" not in error.details and "--yes" in error.hint
    assert c.done == [*whole(name)[:3], DROPPED], "nothing was stopped"


@both
def test_with_yes_containerd_forgets_it_once_it_runs(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says=says(name, then=(1,)))
    report = done("pool.restore", c, yes=True)
    assert report.status == "changed", report
    assert any("container box in the namespace default" in line for line in report.result.losses)
    fit, start, prune = whole(name)[7:]
    corrected = [why for why in c.done if "without its inconsistencies" in why]
    assert corrected
    assert "a backup first" not in c.done, "it would have the new metadata with databases that do not fit"
    order = [
        whole(name)[6],
        "copies of the databases first",
        corrected[-1],
        fit,
        start,
        "containerd forgets 1 lost snapshots",
        prune,
    ]
    found = [next(n for n, why in reversed(list(enumerate(c.done))) if why.startswith(of)) for of in order]
    assert found == sorted(found)


@both
def test_sound_metadata_is_not_replaced_without_yes(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says=says(name, sound=True))
    error = trouble(done("pool.restore", c), "refused")
    assert error.what == f"the metadata of {name} is sound ({LIVE})" and "--yes" in error.hint
    assert c.done == [*whole(name)[:3], DROPPED]
    c = machine(POOLS[name](), says=says(name, sound=True))
    assert done("pool.restore", c, yes=True).status == "changed"
    assert c.done == whole(name)


@pytest.mark.parametrize("yes", [False, True])
@both
def test_a_backup_with_the_devices_of_another_pool_is_refused(machine: Make, name: str, yes: bool) -> None:
    made = f"{copies('other', (1, 2), 'then-')}@candidate 7200 4711 {NEW[name]}\n@source {SOURCE}"
    c = machine(POOLS[name](), says=says(name) | {"new metadata from": made})
    error = trouble(done("pool.restore", c, from_=SOURCE, yes=yes), "refused")
    assert (error.what, error.details) == (f"{SOURCE} is not a backup of {name}", "it is one of other")
    assert f"pool.restore --name {name}" in error.hint and "--from" not in error.hint
    assert c.done == [whole(name)[0], f"new metadata from {SOURCE}", *whole(name)[2:3], DROPPED], "nothing was stopped"


@both
def test_a_backup_in_the_directory_of_another_pool_is_refused(machine: Make, name: str) -> None:
    source = f"/var/lib/containerd-devmapper/backup/{name}-2/b1.xml.gz"
    says_so = {key: text.replace(SOURCE, source) for key, text in says(name).items()}
    c = machine(POOLS[name](), says=says_so)
    error = trouble(done("pool.restore", c, from_=source, yes=True), "refused")
    assert (error.what, error.details) == (f"{source} is not a backup of {name}", f"it is one of {name}-2")
    assert c.done[-1] == DROPPED


def test_metadata_that_is_missing_is_what_a_restore_is_for(machine: Make) -> None:
    down = with_pool(on_files(), table=None, status=None, meta=None, active=False)
    c = machine(down, down, on_files(), says=says(NAME, sound=True))
    assert done("pool.restore", c).status == "changed"
    assert c.done == whole(NAME), "sound or not: it is not there"


def test_a_backup_that_is_not_there_stops_nothing(machine: Make) -> None:
    c = machine(on_files(), says=says(NAME) | {"new metadata from": "/srv/x does not exist"}, fails={"new metadata": 1})
    error = trouble(done("pool.restore", c, from_="/srv/x"), "failed")
    assert "/srv/x does not exist" in error.details
    assert c.done == [whole(NAME)[0], "new metadata from /srv/x"]


def test_a_name_that_is_no_path_is_refused_before_the_machine_is_asked(machine: Make) -> None:
    c = machine(on_files())
    assert trouble(done("pool.restore", c, from_="x.xml.gz"), "refused").what.startswith("from: 'x.xml.gz'")
    assert c.log == []


@both
def test_a_pool_in_use_is_refused_before_anything(machine: Make, name: str) -> None:
    c = machine(
        POOLS[name](), says=says(name), asked={"blockers\n": "container web runs, in the namespace default (pid 7)\n"}
    )
    assert "--force" in trouble(done("pool.restore", c), "refused").hint
    assert c.done == []


def test_a_missing_program_is_refused_first(machine: Make) -> None:
    c = machine(without(on_files(), "thin_restore"), says=says(NAME))
    assert trouble(done("pool.restore", c), "refused").what.startswith("thin_restore is missing")
    assert c.done == []


@both
def test_dry_shows_everything_and_makes_no_new_metadata(
    machine: Make, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    c = machine(POOLS[name](), dry=True)
    report = done("pool.restore", c)
    assert [change.why for change in report.steps[0].changes] == whole(name)[1:]
    assert "depending on the backup: " in capsys.readouterr().out
    assert (report.status, c.done) == ("pending", [])
    assert "apply" not in c.log
