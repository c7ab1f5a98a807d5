"""pool.reset from end to end: everything is refused before anything is changed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile.facts import Facts, instances
from fabfile.facts.files import FileFact
from fabfile.facts.instances import Instances
from fabfile.instance import OURS, Daemon
from fabfile.pool import units
from tests.unit.pool import groups
from tests.unit.pool.groups import with_disk
from tests.unit.pool.loops import NAME
from tests.unit.pool.machines import Make, both, done, on_disks, on_files, trouble
from tests.unit.pool.machines import machine as machine
from tests.unit.pool.removals import bare

POOLS = {NAME: on_files(), groups.NAME: with_disk(on_disks())}
WHOLE = {
    NAME: [
        "stop containerd.service and take the pool pool down with all its thin devices",
        "remove /srv/pool/data and /srv/pool/meta, 10.1G",
        "remove all images, containers and snapshots of the default containerd",
        "remove its units and files",
        "forget the pool pool",
    ],
    groups.NAME: [
        f"stop containerd.service and take the pool {groups.NAME} down with all its thin devices",
        "remove containerd/thinpool, 16.0G",
        "remove the volume group containerd",
        "wipe /dev/vdb (vdb-serial)",
        "remove all images, containers and snapshots of the default containerd",
        "remove its units and files",
        f"forget the pool {groups.NAME}",
    ],
}
"""Everything that a reset does, in order."""


def gone(name: str) -> Facts:
    """The machine after it."""
    return msgspec.structs.replace(bare(POOLS[name]), instances=Instances())


def made(machine: Make, name: str, **options: Any) -> Any:
    return machine(POOLS[name], becomes={f"forget the pool {name}": gone(name)}, **options)


@both
def test_a_pool_is_removed_with_yes_and_its_record_last(machine: Make, name: str) -> None:
    c = made(machine, name)
    report = done("pool.reset", c, yes=True)
    assert c.done == WHOLE[name]
    assert report.status == "changed", report.error
    assert [step.step for step in report.steps] == ["pool.reset"]


@both
def test_without_yes_everything_to_be_removed_is_listed_and_nothing_changed(machine: Make, name: str) -> None:
    c = made(machine, name)
    error = trouble(done("pool.reset", c), "refused")
    assert error.details.splitlines() == WHOLE[name] and "--yes" in error.hint
    assert c.done == []


@pytest.mark.parametrize("force", [False, True])
@both
def test_users_of_the_pool_are_listed_and_nothing_is_changed(machine: Make, name: str, force: bool) -> None:
    held = "held: /dev/mapper/x is mounted on /mnt\n"
    c = made(machine, name, asked={"idle\n": f"container web runs, in the namespace default\n{held}"})
    error = trouble(done("pool.reset", c, yes=True, force=force), "refused")
    assert error.what == "pool.reset: a pool is in use"
    assert ("container web" in error.details, "--force" in error.hint) == (not force, not force)
    assert "/dev/mapper/x is mounted on /mnt" in error.details and "held:" not in error.details
    assert c.done == []


@both
def test_with_force_containers_are_accepted(machine: Make, name: str) -> None:
    c = made(machine, name, asked={"idle\n": "container web runs, in the namespace default\n"})
    assert done("pool.reset", c, yes=True, force=True).status == "changed"
    assert c.done == [f"end containers, {WHOLE[name][0]}", *WHOLE[name][1:]]


@pytest.mark.parametrize(("name", "at"), [(name, at) for name, whole in WHOLE.items() for at in range(len(whole))])
def test_a_failure_ends_the_reset_and_the_record_stays_for_the_next_run(machine: Make, name: str, at: int) -> None:
    broken = WHOLE[name][at]
    c = made(machine, name, fails={broken: 1})
    error = trouble(done("pool.reset", c, yes=True), "failed")
    assert f"{broken}: failed" in error.what
    assert c.done == WHOLE[name][: at + 1]


@both
def test_a_pool_that_is_still_there_afterwards_is_a_failure(machine: Make, name: str) -> None:
    c = machine(POOLS[name])
    error = trouble(done("pool.reset", c, yes=True), "failed")
    assert "applied, but the host does not show it" in error.what
    assert WHOLE[name][0] in error.details


def test_without_a_pool_there_is_nothing_to_do(machine: Make, capsys: pytest.CaptureFixture[str]) -> None:
    c = machine(gone(NAME))
    assert done("pool.reset", c, yes=True).status == "ok"
    assert c.done == [] and "nothing to do" in capsys.readouterr().out


def test_a_pool_that_was_not_made_here_is_refused(machine: Make) -> None:
    there = Instances(active=frozenset({"other"}))
    c = machine(msgspec.structs.replace(gone(NAME), instances=there))
    error = trouble(done("pool.reset", c, yes=True, name="other"), "refused")
    assert error.what == "the pool other is not managed by this tool" and units.conf("other") in error.details
    assert c.done == []


def test_another_instances_pool_is_refused(machine: Make) -> None:
    c = machine(POOLS[NAME])
    error = trouble(done("pool.reset", c, yes=True, name=NAME, instance="two"), "refused")
    assert error.what == f"the pool {NAME} was made for the default containerd"
    assert "images and containers" in error.details
    assert c.done == []


UNIT = {Daemon().unit_path: FileFact(f"{OURS}.\n[Unit]\n", 0o644)}
"""containerd's unit, as deploy writes it."""


@both
def test_all_takes_the_pool_first_and_what_says_what_is_ours_last(machine: Make, name: str) -> None:
    have = msgspec.structs.replace(POOLS[name], files=POOLS[name].files | UNIT)
    left = msgspec.structs.replace(gone(name), files=UNIT)
    c = machine(have, becomes={f"forget the pool {name}": left, "remove containerd's unit": gone(name)})
    report = done("pool.reset", c, yes=True, all=True)
    rest = ["stop containerd.service and remove all", "remove containerd's unit and what else was written"]
    assert c.done[: len(WHOLE[name])] == WHOLE[name]
    assert [why.startswith(of) for of, why in zip(rest, c.done[len(WHOLE[name]) :], strict=True)] == [True, True]
    assert [(step.step, step.status) for step in report.steps] == [
        ("pool.reset", "changed"),
        ("everything else", "changed"),
    ]


@both
def test_what_a_remaining_pool_needs_stays(machine: Make, name: str) -> None:
    have = msgspec.structs.replace(POOLS[name], files=POOLS[name].files | UNIT)
    c = machine(have, fails={"forget the pool": 1})
    report = done("pool.reset", c, yes=True, all=True)
    assert "forget the pool" in trouble(report, "failed").what
    assert c.done == WHOLE[name]


@pytest.mark.parametrize(
    ("config", "files", "ours"),
    [
        (None, {}, False),
        (instances.DevmapperSettings(), {}, False),
        (instances.DevmapperSettings(pool="another"), UNIT, False),
        (None, {Daemon().unit_path: FileFact("[Unit]\n", 0o644)}, False),
        (None, UNIT, True),
        (instances.DevmapperSettings(pool=NAME), {}, True),
    ],
)
def test_the_default_containerd_goes_with_the_pool_only_if_it_is_on_it_or_ours(
    machine: Make, config: instances.DevmapperSettings | None, files: dict[str, FileFact], ours: bool
) -> None:
    have = on_files()
    configs = {Daemon().config_path: config} if config else {}
    have = msgspec.structs.replace(
        have, instances=msgspec.structs.replace(have.instances, configs=configs), files=have.files | files
    )
    c = machine(have, becomes={f"forget the pool {NAME}": gone(NAME)})
    assert done("pool.reset", c, yes=True).status == "changed"
    assert (c.done == WHOLE[NAME], "containerd.service" in " ".join(c.done)) == (ours, ours)
    assert ("/var/lib/containerd/io.containerd.*" in "\n".join(c.scripts)) == ours


def test_all_is_refused_with_a_pool_name(machine: Make) -> None:
    c = machine(POOLS[NAME])
    assert "takes no --name" in trouble(done("pool.reset", c, yes=True, all=True, name=NAME), "refused").details
    assert c.log == []


@both
def test_dry_removes_nothing(machine: Make, name: str) -> None:
    c = made(machine, name, dry=True)
    report = done("pool.reset", c, all=False)
    assert [change.why for change in report.steps[0].changes] == WHOLE[name]
    assert (report.status, c.done) == ("pending", [])
    assert "apply" not in c.log
