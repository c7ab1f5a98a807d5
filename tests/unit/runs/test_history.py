"""What records say, also those of runs that were killed or go on; and which hosts are to be tried again."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from fabfile import events
from fabfile.errors import Failed, Refused
from fabfile.events import Event
from fabfile.output.outcome import HERE, FleetReport, HostReport, Report, TaskReport
from fabfile.runs import history, page, show, storage
from fabfile.runs.record import recorded
from tests.unit.runs.calls import DEPLOY


def kept(monkeypatch: pytest.MonkeyPatch, report: Any, program: str = "fab") -> str:
    """The name of a record of a run that ended so."""
    monkeypatch.setattr(sys, "argv", [program, "deploy"])
    with recorded(program, DEPLOY) as record:
        record.end(report)
    return record.name


def of(**statuses: Any) -> FleetReport:
    return FleetReport(0, {host: HostReport(status) for host, status in statuses.items()})


def test_hosts_that_did_not_end_well_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = ["ok", "changed", "pending", "failed", "refused", "unreachable", "interrupted"]
    name = kept(monkeypatch, of(**{status: status for status in statuses}))
    assert history.unfinished(name) == ["failed", "refused", "unreachable", "interrupted"]


def test_where_all_ended_well_there_is_nothing_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="nothing to retry") as refused:
        history.unfinished(kept(monkeypatch, of(a="ok", b="changed")))
    assert refused.value.details == "ok 1  changed 1"


def test_a_run_of_inv_has_no_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    name = kept(monkeypatch, Report("failed"), "inv")
    assert {host: report.status for host, report in history.read(name).hosts.items()} == {HERE: "failed"}
    with pytest.raises(Refused, match="has no hosts"):
        history.unfinished(name)


def test_the_last_run_to_try_again_is_one_of_fab_whatever_inv_did_since(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="no run of fab has left a record"):
        history.last_on_hosts()
    fab = kept(monkeypatch, of(a="failed"))
    inv, damaged = kept(monkeypatch, Report("changed"), "inv"), kept(monkeypatch, of(a="ok"))
    (storage.root() / damaged / storage.HEAD).write_text("{")
    assert history.last_on_hosts() == fab
    assert inv < history.find("last") == damaged


def test_a_run_that_goes_on_is_not_tried_again() -> None:
    with recorded("fab", DEPLOY) as record, pytest.raises(Refused, match="is still in progress"):
        events.tell("run-begin", hosts=["a"])
        history.unfinished(record.name)


TOLD: list[dict[str, Any]] = [
    {"event": "run-begin", "hosts": ["done", "failed", "cut", "next"]},
    *({"event": "host-begin", "host": host} for host in ("done", "failed", "cut")),
    *({"event": "task-begin", "host": host, "task": "deploy"} for host in ("done", "failed", "cut")),
    {"event": "step-begin", "host": "done", "task": "deploy", "step": "one"},
    {"event": "step-end", "host": "done", "task": "deploy", "step": "one", "status": "changed", "seconds": 1.5,
     "reason": "why"},
    {"event": "step-begin", "host": "failed", "task": "deploy", "step": "one"},
    {"event": "step-begin", "host": "cut", "task": "deploy", "step": "one"},
    {"event": "step-end", "host": "failed", "task": "deploy", "step": "one", "status": "failed", "seconds": 2.5,
     "error": "it broke"},
    {"event": "task-end", "host": "done", "task": "deploy", "status": "changed", "seconds": 1.5},
    {"event": "host-end", "host": "done", "status": "changed", "seconds": 1.6},
    {"event": "task-end", "host": "failed", "task": "deploy", "status": "failed", "seconds": 2.5, "error": "it broke"},
    {"event": "host-end", "host": "failed", "status": "failed", "seconds": 2.6, "error": "it broke"},
]  # fmt: skip


def test_events_alone_say_what_became_of_each_host() -> None:
    hosts = history.from_events([Event(0, **each) for each in TOLD], "killed")
    assert {name: (report.status, report.seconds) for name, report in hosts.items()} == {
        "done": ("changed", 1.6), "failed": ("failed", 2.6), "cut": ("interrupted", 0), "next": ("interrupted", 0),
    }  # fmt: skip
    errors = {name: report.error.what for name, report in hosts.items() if report.error}
    assert errors == {"failed": "it broke", "cut": "one: the run was killed", "next": "the run was killed"}
    (step,) = hosts["done"].tasks[0].steps
    assert (step.step, step.status, step.reason, step.seconds) == ("one", "changed", "why", 1.5)
    assert hosts["done"].tasks[0].unfinished is None
    assert [task.unfinished and task.unfinished.seconds for task in hosts["failed"].tasks] == [2.5]
    assert [task.unfinished and task.unfinished.step for task in hosts["cut"].tasks] == ["one"]


def killed() -> str:
    """The name of the record of a run that was killed."""
    with pytest.raises(KeyError), recorded("fab", DEPLOY) as record:
        for each in TOLD:
            with events.on(task=each.get("task", "")):
                events.tell(**{key: value for key, value in each.items() if key != "task"})
        raise KeyError
    return record.name


def test_a_killed_run_is_tried_again_where_it_had_not_ended() -> None:
    name = killed()
    assert history.unfinished(name) == ["failed", "cut", "next"]
    with (storage.root() / name / storage.EVENTS).open("a") as file:
        file.write('{"time": 1, "event": "host-e')  # cut in the middle of a line
    assert history.unfinished(name) == ["failed", "cut", "next"]


@pytest.mark.parametrize(
    "line",
    ['{"time": 1, "event": "host-end", "host": "another"}', "[" * 10**5, "{}", '{"time": 1, "event": "x"}', "garbage"],
    ids=["host", "depth", "empty", "kind", "garbage"],
)
def test_a_damaged_record_is_one_error(line: str) -> None:
    name = killed()
    with (storage.root() / name / storage.EVENTS).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(Failed, match="is damaged"):
        history.read(name)


def test_bytes_that_are_no_utf_8_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = b"a\xff".decode(errors="surrogateescape")
    monkeypatch.setattr(sys, "argv", ["fab", "run", odd])
    with recorded("fab", DEPLOY) as record:
        events.tell("run-begin", hosts=["a"])
        events.tell("host-end", host="a", status="failed", error=odd)
        (host,) = history.read(record.name).hosts.values()
        assert host.error and host.error.what == odd
        record.end(FleetReport(1, {"a": HostReport("failed", tasks=[TaskReport("run", result=odd)])}))
    found = history.read(record.name)
    assert (found.run.command, found.hosts["a"].tasks[0].result) == (f"fab run '{odd}'", odd)


def test_of_a_damaged_record_the_others_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = kept(monkeypatch, of(a="ok")), kept(monkeypatch, of(a="ok"))
    (storage.root() / first / storage.HEAD).write_text("{")
    assert [run.run for run in history.runs()] == [second]
    assert f"{first}/run.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", ['"begin": 1e300', '"begin": NaN', '"begin": -1', '"begin": 1e999', f'"begin": {10**400}',
              '"begin": 1, "end": Infinity', '"begin": 1, "command": []'],
)  # fmt: skip
def test_a_head_that_no_run_writes_is_damaged(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    name = kept(monkeypatch, of(a="ok"))
    (storage.root() / name / storage.HEAD).write_text(f'{{"command": ["fab"], {wrong}}}')
    with pytest.raises(Failed, match=r"run\.json is damaged"):
        history.read(name)
    assert history.runs() == []


def test_a_run_that_was_killed_before_it_came_to_a_host_is_shown_and_names_the_command_to_type_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["fab", "-H", "a,b", "deploy"])
    with pytest.raises(KeyError), recorded("fab", DEPLOY) as record:
        raise KeyError
    show.show_run(record.name)
    assert "state    killed\n" in capsys.readouterr().out
    assert "fab -H a,b deploy" in page.page(history.read(record.name))
    with pytest.raises(Refused, match="before it began on any host") as refused:
        history.unfinished(record.name)
    assert refused.value.hint == "fab -H a,b deploy"


def test_a_record_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    name = kept(monkeypatch, of(a="ok"))
    monkeypatch.setattr(history, "MOST", 100)
    with pytest.raises(Failed, match="cannot be read"):
        history.read(name)


def test_a_record_is_found_by_its_name_or_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="no run has left a record"):
        history.find("last")
    first, last = kept(monkeypatch, of(a="ok")), kept(monkeypatch, of(a="ok"))
    assert (history.find(first), history.find(last)) == (first, last)
    assert history.find("") == history.find("last") == last
    with pytest.raises(Refused, match="no run '20") as refused:
        history.find(first[:-1])
    assert first in refused.value.hint and "inv runs.list" in refused.value.hint
    with pytest.raises(Refused, match=r"no run '\.\./x'"):
        history.find("../x")


def test_what_has_no_head_yet_is_no_run() -> None:
    storage.create()
    assert history.runs() == []
    with pytest.raises(Refused, match="no run has left a record"):
        history.find("last")
