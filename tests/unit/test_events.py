"""What happens is told once, to all who listen, and written as lines that every program can read."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import cast

import msgspec
import pytest
from invoke import Context

from fabfile import events
from fabfile.converge import converge
from fabfile.errors import Failed, Refused
from fabfile.events import Event
from fabfile.facts import Facts
from fabfile.output import outcome
from fabfile.paths import REPOSITORY
from fabfile.plan import Change, Command, Step
from tests.unit import fakes


def test_an_event_is_about_where_it_happened() -> None:
    heard: list[Event] = []
    with events.heard_by(heard.append), events.on("web1"):
        with events.on(task="deploy"):
            events.tell("step-begin", step="packages")
        events.tell("host-end", status="ok")
    events.tell("run-end", exit_code=0)
    assert [(each.host, each.task, each.step) for each in heard] == [("web1", "deploy", "packages"), ("web1", "", "")]


def told(machine: fakes.Machine, *steps: Step) -> list[tuple[str, str, str, str]]:
    """What is told of a task with these steps."""
    heard: list[Event] = []
    with events.heard_by(heard.append):
        outcome.perform("task", lambda: converge(cast(Context, machine), steps), remote=False)
    return [(each.event, each.step, each.status, each.error) for each in heard]


def step(name: str, plans: list[list[Change]]) -> Step:
    """A step with one plan after the other."""

    def plan(have: Facts) -> list[Change]:
        return plans.pop(0) if len(plans) > 1 else plans[0]

    return Step(name, plan)


def test_each_step_begins_and_ends_once() -> None:
    change: list[Change] = [Command("why", "true")]
    machine = fakes.Machine([fakes.looks_like()])
    assert told(machine, step("first", [change, change, []]), step("second", [[]])) == [
        ("task-begin", "", "", ""),
        ("step-begin", "first", "", ""),
        ("step-end", "first", "changed", ""),
        ("step-begin", "second", "", ""),
        ("step-end", "second", "ok", ""),
        ("task-end", "", "changed", ""),
    ]


def test_a_step_that_fails_ends_with_its_error() -> None:
    machine = fakes.Machine([fakes.looks_like()], applied=[(1, "@@0\nno room\n")])
    failed = told(machine, step("first", [[Command("why", "true")]]), step("second", [[]]))
    assert failed[1:] == [
        ("step-begin", "first", "", ""),
        ("step-end", "first", "failed", "first: why: failed"),
        ("task-end", "", "failed", "first: why: failed"),
    ]


def test_the_file_has_a_line_each_as_soon_as_it_happens(tmp_path: Path) -> None:
    file = tmp_path / "events"
    file.write_text("of the last run\n")
    with events.written(events.opened(str(file))):
        events.tell("run-begin", hosts=["ä", "b"])
        assert json.loads(file.read_text())["hosts"] == ["ä", "b"]
        events.tell("host-end", host="b", status="failed", error="cannot fetch https://user:secret@mirror/x\n\x1b[2J")
    lines = file.read_text().splitlines()
    assert len(lines) == 2 and file.read_text().isascii()
    assert "secret" not in lines[1] and json.loads(lines[1])["error"].endswith("\n\x1b[2J")


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="--events: cannot write"):
        events.check(str(tmp_path))
    with pytest.raises(Refused, match="No such file"):
        events.check(str(tmp_path / "missing" / "new"))


def test_what_a_run_could_not_open_is_refused_and_where_that_shows_late_too(tmp_path: Path) -> None:
    link, peer = tmp_path / "link", tmp_path / "socket"
    link.symlink_to(tmp_path / "missing" / "new")
    os.mknod(peer, stat.S_IFSOCK | 0o600)
    for path in (str(link), str(peer), "~nouser/x"):
        with pytest.raises(Refused, match="--events: cannot write"):
            events.check(path)
    for path in (str(link), str(peer), str(tmp_path)):
        with pytest.raises(Refused, match="--events: cannot write"):
            events.opened(path)


def test_checking_the_file_neither_creates_nor_changes_it(tmp_path: Path) -> None:
    events.check(str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").write_text("of the last run\n")
    events.check(str(tmp_path / "old"))
    assert (tmp_path / "old").read_text() == "of the last run\n"


def test_a_full_disk_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with events.written(events.opened("/dev/full")):
        events.tell("run-begin")
        events.tell("run-end", exit_code=0)
    assert capsys.readouterr().err.count("/dev/full is no longer written") == 1


def test_every_field_and_kind_is_in_the_documentation() -> None:
    page = (REPOSITORY / "docs/json.md").read_text().partition("## Events")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)) == set(Event.__struct_fields__)
    kinds = msgspec.json.schema(Event)["$defs"]["Event"]["properties"]["event"]["enum"]
    assert set(re.findall(r"`([a-z]+-(?:begin|end))`", page)) == set(kinds)


def test_a_task_that_takes_no_steps_is_told_with_its_error() -> None:
    heard: list[Event] = []

    def do() -> None:
        raise Failed("it broke")

    with events.heard_by(heard.append):
        outcome.perform("run", do, remote=False)
    assert [(each.event, each.task, each.status, each.error) for each in heard] == [
        ("task-begin", "run", "", ""), ("task-end", "run", "failed", "it broke"),
    ]  # fmt: skip
