"""pool.trim from end to end: what an offline trim stopped is started again, whatever fails."""

from __future__ import annotations

from typing import Any

import pytest

from fabfile.pool.maintain.trim import Trimmed
from tests.unit.pool import groups
from tests.unit.pool.loops import NAME
from tests.unit.pool.machines import POOLS, Make, both, done, on_files, trouble, without

ONLINE, WHOLE, AGAIN = "fstrim of every", "discard every block", "how much is used now"
SAYS = {
    ONLINE: "trimmed pool-snap-1 4096\n@before 100 9000\n@after 60 7000",
    AGAIN: "@before 60 7000\n@after 40 5000",
}
BLOCK = {NAME: 64 << 10, groups.NAME: 512 << 10}
TAKES = {"discard_max_bytes": "4294966784\n"}
"""A disk that takes discards."""

INTERRUPTED = {"stop ": 1, WHOLE: 1, "start ": 1, AGAIN: 1}


def stop(name: str) -> str:
    return f"stop containerd.service and the pool {name}"


def start(name: str) -> str:
    return f"start the pool {name} and containerd.service"


def whole(name: str) -> list[str]:
    """Everything that an offline trim does, in order."""
    return [
        "fstrim of every mounted thin device",
        stop(name),
        "discard every block that no device has",
        start(name),
        AGAIN,
    ]


@both
def test_while_containers_run_nothing_is_stopped(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says=SAYS)
    report = done("pool.trim", c)
    assert c.done == whole(name)[:1]
    allocated = (9000, 7000) if name == NAME else (None, None)
    assert report.result == Trimmed(name, 100 * BLOCK[name], 60 * BLOCK[name], *allocated)


@both
def test_offline_the_pool_is_down_only_while_blocks_are_discarded(
    machine: Make, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    c = machine(POOLS[name](), says=SAYS, asked=TAKES)
    report = done("pool.trim", c, offline=True)
    assert c.done == whole(name)
    assert report.status == "changed"
    assert (report.result.used_before, report.result.used_after) == (100 * BLOCK[name], 40 * BLOCK[name])
    assert "trimmed pool-snap-1 4096" in capsys.readouterr().out


@pytest.mark.parametrize("broken", INTERRUPTED)
@both
def test_what_was_stopped_is_started_again_and_the_first_error_reported(
    machine: Make, name: str, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    c = machine(POOLS[name](), says=SAYS, fails={broken: INTERRUPTED[broken]}, asked=TAKES)
    report = done("pool.trim", c, offline=True)
    error = trouble(report, "failed")
    (at,) = (why for why in whole(name) if why.startswith(broken))
    assert error.what == f"pool.trim: {at}: failed"
    assert c.done == [*whole(name)[: whole(name).index(at) + 1], start(name)]
    assert report.result is None
    assert ("start the pool" in capsys.readouterr().err) == (broken == "start "), "that it stays down is said"


def test_a_refused_stop_starts_nothing_again(machine: Make) -> None:
    c = machine(on_files(), says=SAYS | {"stop ": "ctr has pool-snap-1 open"}, fails={"stop ": 77}, asked=TAKES)
    error = trouble(done("pool.trim", c, offline=True), "refused")
    assert error.what == "pool.trim: ctr has pool-snap-1 open"
    assert c.done == whole(NAME)[:2]


USED = {"blockers\n": "container web runs, in the namespace default (pid 7)\n"}


@pytest.mark.parametrize("force", [False, True])
def test_an_offline_run_is_refused_before_anything_while_the_pool_is_in_use(machine: Make, force: bool) -> None:
    c = machine(on_files(), says=SAYS, asked=USED | TAKES)
    error = trouble(done("pool.trim", c, offline=True, force=force), "refused")
    assert error.what == f"pool.trim: the pool {NAME} is in use" and "container web" in error.details
    assert ("--force" in error.hint) != force, "what is left then is not killed by it"
    assert c.done == []


def test_an_online_run_does_not_ask_who_uses_the_pool(machine: Make) -> None:
    c = machine(on_files(), says=SAYS, asked=USED)
    assert done("pool.trim", c).status == "changed"


@both
def test_the_pool_is_not_stopped_if_its_disks_take_no_discards(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says=SAYS, asked={"discard_max_bytes": "0\n"})
    error = trouble(done("pool.trim", c, offline=True), "refused")
    assert "takes no discards" in error.what and "--offline" not in error.hint
    assert c.done == []


@pytest.mark.parametrize(("given", "needs"), [({}, "dmsetup"), ({"offline": True}, "thin_dump")])
def test_a_program_that_is_missing_is_a_refusal(machine: Make, given: dict[str, Any], needs: str) -> None:
    c = machine(without(on_files(), needs), says=SAYS, asked=TAKES)
    assert trouble(done("pool.trim", c, **given), "refused").what.startswith(f"{needs} is missing")
    assert c.done == []


def test_a_script_that_does_not_finish_is_a_failure(machine: Make) -> None:
    c = machine(on_files(), says={ONLINE: "trimmed pool-snap-1 4096\n@before 100 9000"})
    report = done("pool.trim", c)
    assert trouble(report, "failed").what == "pool.trim: the script did not finish"
    assert report.result is None


@pytest.mark.parametrize("given", [{}, {"offline": True}])
@both
def test_dry_trims_nothing(machine: Make, name: str, given: dict[str, Any]) -> None:
    c = machine(POOLS[name](), asked=TAKES, dry=True)
    report = done("pool.trim", c, **given)
    assert [change.why for change in report.steps[0].changes] == whole(name)[: 5 if given else 1]
    assert (report.status, c.done) == ("pending", [])
    assert "apply" not in c.log
