"""converge: gather → plan → apply → look again, on a machine made of recorded answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from fabfile import plan
from fabfile.converge import converge
from fabfile.errors import Failed, Pending, Refused
from fabfile.facts import Facts
from fabfile.facts.query import Query, together
from fabfile.output import answer, json_document, outcome
from fabfile.plan import Change, Command, File, Step
from fabfile.remote import lock
from fabfile.remote.lock import BUSY, STALE
from tests.unit.fakes import Machine, looks_like, recorded

FRESH = looks_like()
PROVED = looks_like(smoke="record proof\n")


def generation(number: int) -> str:
    """A fresh machine that was changed `number` times since its boot."""
    return looks_like(system=recorded("system", "fresh").replace("generation 0\n", f"generation {number}\n"))


def prove(have: Facts) -> list[Change]:
    """A plan that is done when a proof is recorded."""
    return [] if have.smoke else [Command("prove it", "touch proof")]


def nothing(have: Facts) -> list[Change]:
    """A plan that is always done."""
    return []


def refuse(have: Facts) -> list[Change]:
    """A plan that is never made."""
    raise Refused("not on this machine")


def steps(*plans: Callable[[Facts], list[Change]]) -> list[Step]:
    """Steps with these plans."""
    return [Step(p.__name__, p) for p in plans]


def test_a_converged_machine_costs_one_command() -> None:
    c = Machine([PROVED])
    outcomes = converge(c, steps(nothing, prove, nothing))
    assert c.log == ["gather"]
    assert [(o.step, o.status, o.reason) for o in outcomes] == [
        ("nothing", "ok", "nothing to do"),
        ("prove", "ok", "nothing to do"),
        ("nothing", "ok", "nothing to do"),
    ]


def test_a_change_is_applied_and_the_machine_looked_at_again() -> None:
    c = Machine([FRESH, PROVED])
    (outcome,) = converge(c, steps(prove))
    assert c.log == ["gather", "apply"], "the second look comes with the application, in one round trip"
    assert "touch proof" in c.scripts[1]
    assert (outcome.status, outcome.reason) == ("changed", "prove it")
    assert outcome.changes == [Command("prove it", "touch proof")]


def test_a_later_step_sees_what_an_earlier_one_did() -> None:
    def after(have: Facts) -> list[Change]:
        return [] if have.smoke else [Command("not needed any more", "false")]

    c = Machine([FRESH, PROVED])
    outcomes = converge(c, steps(prove, after))
    assert [o.status for o in outcomes] == ["changed", "ok"]
    assert c.log == ["gather", "apply"]


def test_exit_0_is_not_proof() -> None:
    c = Machine([FRESH, FRESH])
    with pytest.raises(Failed, match="prove: applied, but the host does not show it") as failed:
        converge(c, steps(prove))
    assert failed.value.details == "still to do: prove it"


def test_a_step_that_fails_stops_the_later_ones() -> None:
    def later(have: Facts) -> list[Change]:
        return [Command("too late", "true")]

    c = Machine([FRESH], [(1, "@@0\nno space left\n")])
    with pytest.raises(Failed, match="prove: prove it: failed"):
        converge(c, steps(prove, later))
    assert c.log == ["gather", "apply"]


def test_nothing_is_begun_where_udev_answers_nobody() -> None:
    """Whatever makes a device would wait for it for ever, with the machine's lock."""
    c = Machine([looks_like(units="silent yes\n")])
    with pytest.raises(Refused, match="prove: udev does not answer") as refused:
        converge(c, steps(prove))
    assert refused.value.hint == "systemctl restart systemd-udevd"
    assert c.log == ["gather"]


def test_a_refusal_of_a_late_step_comes_before_the_first_change() -> None:
    c = Machine([FRESH])
    with pytest.raises(Refused, match="not on this machine"):
        converge(c, steps(prove, refuse))
    assert c.log == ["gather"]


def test_the_facts_ask_for_the_files_of_every_step_once() -> None:
    c = Machine([PROVED])
    first, second = Query(files=("/etc/b", "/etc/a")), Query(files=("/etc/a", "/etc/c d"), vg="vg")
    converge(c, [Step("a", nothing, first), Step("b", nothing, second), Step("c", nothing)])
    assert "for f in /etc/b /etc/a '/etc/c d'; do" in c.scripts[0]
    assert together([first, second]) == Query(files=("/etc/b", "/etc/a", "/etc/c d"), vg="vg")


@pytest.mark.parametrize("other", [{"pool": "x"}, {"instance": "two"}, {"dir": "/x"}, {"bin_dir": "/x"}])
def test_steps_about_two_machines_are_no_one_task(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="different hosts"):
        converge(Machine([PROVED]), [Step("a", nothing), Step("b", nothing, Query(**other))])


def test_the_first_that_is_said_of_a_group_an_image_or_a_volume_is_the_only_one() -> None:
    with pytest.raises(ValueError, match="vg"):
        together([Query(vg="one"), Query(), Query(vg="two")])


def test_dry_says_what_would_change_and_only_looks(capsys: pytest.CaptureFixture[str]) -> None:
    c = Machine([FRESH], dry=True)
    with pytest.raises(Pending):
        converge(c, steps(nothing, prove))
    assert c.log == ["gather"]
    assert capsys.readouterr().out.splitlines() == [
        "ok       nothing",
        "pending  prove",
        "    * prove it",
    ]


def test_on_one_of_several_hosts_a_plan_is_kept_with_what_the_hosts_are_compared_by(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Pending), answer.collected() as kept:
        converge(Machine([FRESH], dry=True), steps(prove))
    assert kept.text == ["pending  prove\n    * prove it"]
    assert kept.row["runc"] == "none" and kept.row["kernel"].startswith("6.")
    assert capsys.readouterr().out == ""


def test_dry_on_a_converged_machine_ends_well() -> None:
    c = Machine([PROVED], dry=True)
    assert [o.status for o in converge(c, steps(nothing, prove))] == ["ok", "ok"]
    assert c.log == ["gather"]


def test_dry_refuses_as_the_real_thing_would() -> None:
    with pytest.raises(Refused):
        converge(Machine([FRESH], dry=True), steps(prove, refuse))


def test_a_later_step_says_that_it_is_planned_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Pending):
        converge(Machine([FRESH], dry=True), [Step("first", prove), Step("second", prove), Step("third", nothing)])
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert lines == [
        "pending  first",
        "pending  second  planned again after first",
        "ok       third  planned again after first",
    ]


def test_what_became_of_each_step_is_kept_for_the_report() -> None:
    def write(have: Facts) -> list[Change]:
        return [File("a file", "/etc/x", "new\n", before="old\n", mode=0o600)]

    do = partial(converge, Machine([FRESH], dry=True), steps(nothing, write))
    report, text = outcome.perform("t", do, remote=False)
    assert (report.status, report.error, text) == ("pending", None, "")
    assert [(step.step, step.status) for step in report.steps] == [("nothing", "ok"), ("write", "pending")]
    assert json.loads(json_document.as_json(report.steps[1].changes)) == [
        {
            "type": "file", "why": "a file", "path": "/etc/x", "content": "new\n", "before": "old\n",
            "mode": 0o600, "validate": "", "backup": "",
        }
    ]  # fmt: skip


def test_a_step_that_failed_leaves_those_before_it_in_the_report() -> None:
    c = Machine([FRESH], [(1, "@@0\nno space left\n")])
    report, text = outcome.perform("t", partial(converge, c, steps(nothing, prove)), remote=False)
    assert report.status == "failed"
    assert [step.step for step in report.steps] == ["nothing"]
    assert report.error
    assert report.error.what == "prove: prove it: failed"
    assert text.startswith("error: prove: prove it: failed")


def test_a_line_of_many_changes_fits_and_they_follow_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    def much(have: Facts) -> list[Change]:
        return [] if have.smoke else [Command(f"reason {'x' * 30} {n}", "true") for n in range(3)]

    converge(Machine([FRESH, PROVED]), steps(much))
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.endswith("3 changes")
    assert len(first) <= 100
    assert [line.split("* ")[1] for line in rest] == [f"reason {'x' * 30} {n}" for n in range(3)]


def test_a_plan_for_an_older_state_is_made_again() -> None:
    c = Machine([generation(0), generation(1), PROVED], [(STALE, "")])
    (outcome,) = converge(c, steps(prove))
    assert c.log == ["gather", "apply", "gather", "apply"]
    assert '[ "$now" = 0 ]' in c.scripts[1]
    assert '[ "$now" = 1 ]' in c.scripts[3]
    assert outcome.status == "changed"


def test_what_another_operator_did_meanwhile_is_not_done_again_and_not_ours() -> None:
    c = Machine([FRESH, PROVED], [(STALE, "")])
    (outcome,) = converge(c, steps(prove))
    assert c.log == ["gather", "apply", "gather"]
    assert outcome.status == "ok"


def test_a_machine_that_never_holds_still_is_a_failure_that_says_by_whom() -> None:
    c = Machine([FRESH], [(STALE, ""), (STALE, ""), (STALE, "held by ada@laptop, deploy\n"), *[(STALE, "")] * 6])
    with pytest.raises(Failed, match="changed 3 times while planning") as failed:
        converge(c, steps(prove))
    assert failed.value.details == "the last change: held by ada@laptop, deploy"
    assert c.log.count("apply") == 3


def test_with_wait_lock_it_is_planned_again_for_as_long() -> None:
    c = Machine([FRESH, *[FRESH] * 9, PROVED], [(STALE, "")] * 9)
    lock.choose(vars(c.config), "60")
    (outcome,) = converge(c, steps(prove))
    assert c.log.count("apply") == 10
    assert outcome.status == "changed"


def test_with_wait_lock_it_waits_and_says_for_whom(capsys: pytest.CaptureFixture[str]) -> None:
    c = Machine([FRESH, PROVED], [(BUSY, "held by ada@laptop, deploy\n7 s ago\n"), (0, "")])
    lock.choose(vars(c.config), "60")
    (outcome,) = converge(c, steps(prove))
    assert outcome.status == "changed"
    assert [f"flock -w 60 {lock.LOCK} true" in script for script in c.scripts] == [False, False, True, False]
    said = capsys.readouterr().out
    assert "prove: waiting for the lock, at most 60 s; held by ada@laptop, deploy 7 s ago" in said


def test_where_the_wait_is_over_it_says_who_holds_the_machine_by_then() -> None:
    c = Machine([FRESH], [(BUSY, "held by ada@laptop, deploy\n"), (BUSY, "held by bob@desk, smoke\n")])
    lock.choose(vars(c.config), "60")
    with pytest.raises(Failed, match="another operator is changing the host") as failed:
        converge(c, steps(prove))
    assert failed.value.details == "held by bob@desk, smoke"


def test_with_wait_lock_zero_it_does_not_wait() -> None:
    c = Machine([FRESH], [(BUSY, "held by ada@laptop, deploy\n")])
    lock.choose(vars(c.config), "0")
    with pytest.raises(Failed, match="another operator is changing the host"):
        converge(c, steps(prove))
    assert c.log == ["gather", "apply"]
    assert "flock -w 0 9" in c.scripts[1]


def test_a_second_operator_is_told_who_holds_the_machine() -> None:
    c = Machine([FRESH], [(BUSY, "held by ada from 192.0.2.7 1 22, pid 42, since Mon\n")])
    with pytest.raises(Failed, match="another operator is changing the host") as failed:
        converge(c, steps(prove))
    assert failed.value.details == "held by ada from 192.0.2.7 1 22, pid 42, since Mon"
    assert c.log == ["gather", "apply"]


@pytest.mark.parametrize("code", [BUSY, STALE])
def test_a_change_that_exits_like_the_lock_is_a_failed_change(code: int) -> None:
    c = Machine([FRESH], [(code, "@@0\ntemporary failure\n")])
    with pytest.raises(Failed, match="prove: prove it: failed") as failed:
        converge(c, steps(prove))
    assert failed.value.details == f"exit code {code}\ntemporary failure"


def test_each_step_is_said_with_its_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    converge(Machine([FRESH, PROVED]), steps(nothing, prove))
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"ok +nothing +[0-9.]+ s  nothing to do", first)
    assert re.fullmatch(r"changed +prove +[0-9.]+ s  prove it", second)


def test_the_plan_of_a_file_is_empty_only_for_the_same_content_and_mode() -> None:
    from fabfile.facts.files import FileFact
    from tests.unit.fakes import have

    there = have(files={"/etc/x": FileFact("a\n", 0o644)})
    assert plan.file(there, "why", "/etc/x", "a\n") == []
    assert plan.file(there, "why", "/etc/x", "a\n", mode=0o755) == [
        File("why", "/etc/x", "a\n", before="a\n", mode=0o755)
    ]
    assert plan.file(there, "why", "/etc/x", "b\n", backup="/etc/x.bak") == [
        File("why", "/etc/x", "b\n", before="a\n", backup="/etc/x.bak")
    ]
    assert plan.file(there, "why", "/etc/y", "") == [File("why", "/etc/y", "", before=None)]
