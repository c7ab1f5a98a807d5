"""What is written while a run goes on: enough to know what it did, no content of files, and never a reason to fail."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fabfile import events
from fabfile.console import prefixed, say
from fabfile.errors import MOST, bounded
from fabfile.output import answer
from fabfile.output.outcome import FleetReport, HostReport, Outcome, TaskReport
from fabfile.plan import Command, File
from fabfile.runs import history, record, storage
from fabfile.runs.record import recorded
from tests.unit.runs.calls import DEPLOY, READ_ONLY, SHOW


@pytest.fixture(autouse=True)
def argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/fab", "-H", "hosts", "deploy", "--mirror", "https://u:it's/secret@m/x"])


def whole(*hosts: str) -> FleetReport:
    return FleetReport(0, {host: HostReport("ok", 1.5) for host in hosts})


def text() -> str:
    """All that is in the only record."""
    (name,) = storage.names()
    files = sorted(path for path in (storage.root() / name).rglob("*") if path.is_file())
    return "\n".join(path.read_text() for path in files)


def test_a_run_that_ended_has_all_of_it() -> None:
    with recorded("fab", DEPLOY) as kept:
        assert history.runs()[0].state == "running"
        events.tell("run-begin", hosts=["a", "b"])
        with prefixed("a"):
            say("one\ntwo\x1b[2J")
        with prefixed("b"):
            say("broken", error=True)
        say("the end")
        kept.end(whole("a", "b"))
    (run,) = history.runs()
    assert (run.run, run.state, run.exit_code, run.hosts) == (kept.name, "ended", 0, {"ok": 2})
    assert run.command == "fab -H hosts deploy --mirror 'https://***@m/x'"
    assert run.end and run.begin <= run.end
    directory = storage.root() / run.run
    log = (directory / "logs/a.log").read_text().splitlines()
    assert [line[8:] for line in log] == ["  one", "  two\\x1b[2J"]
    assert (directory / "logs/b.log").read_text().endswith("  broken\n")
    assert (directory / "log").read_text().endswith("  the end\n")
    assert history.read(run.run).hosts == whole("a", "b").hosts
    assert "secret" not in text()
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.rglob("*"))


def test_a_run_that_ends_with_an_exception_did_not_end() -> None:
    with pytest.raises(KeyError), recorded("fab", DEPLOY):
        events.tell("run-begin", hosts=["a"])
        raise KeyError
    assert [run.state for run in history.runs()] == ["killed"]


@pytest.mark.parametrize(
    ("program", "calls", "kept"),
    [("fab", DEPLOY, 1), ("inv", DEPLOY, 1), ("fab", READ_ONLY, 1), ("inv", READ_ONLY, 0), ("fab", SHOW, 0),
     ("inv", [*SHOW, *DEPLOY], 1)],
)  # fmt: skip
def test_what_leaves_a_record(program: str, calls: list[Any], kept: int) -> None:
    with recorded(program, calls) as new:
        new.end(whole("a"))
    assert len(storage.names()) == kept
    assert bool(new.name) == bool(kept)


def test_no_content_of_a_file_is_kept_and_what_is_long_is_cut() -> None:
    changes = [File("write", "/etc/x", "secret-new", before="secret-old"), Command("do", "true", "f() { secret-f; }")]
    answer: dict[str, Any] = {"files": {"/etc/x": {"content": "secret-file", "mode": 384}}, "stdout": "y" * 10**6}
    answer["several"] = ({"content": "secret-in-a-tuple"},)
    task = TaskReport("t", steps=[Outcome("s", "changed", "write; do", 1, changes)], result=answer)
    with recorded("fab", DEPLOY) as kept:
        kept.end(FleetReport(0, {"a": HostReport("changed", 1, [task])}))
    assert "secret" not in text() and len(text()) < 200_000
    (step,) = history.read(kept.name).hosts["a"].tasks[0].steps
    assert [change["why"] for change in step.changes] == ["write", "do"]
    assert step.changes[0] | {"path": "/etc/x", "content": "", "before": ""} == step.changes[0]


@pytest.mark.parametrize("before", ["\t", "\n", "." * (MOST // 2 - 10)], ids=["tab", "line", "cut"])
def test_no_password_that_a_host_printed_is_kept(before: str) -> None:
    said = f"{before}https://SECRET@m/x\nhttps://m/x\nops@m" + "." * MOST
    with recorded("fab", DEPLOY) as kept:
        kept.end(FleetReport(0, {"a": HostReport("ok", tasks=[TaskReport("run", result={"stdout": said})])}))
    assert "SE" not in text()
    shown = history.read(kept.name).hosts["a"].tasks[0].result["stdout"]
    assert shown.partition("\n…")[0] == bounded(said.replace("SECRET", "***")).partition("\n…")[0]
    assert shown.endswith("\n" + "." * (MOST // 2))


def test_what_is_shown_later_with_other_hosts_is_in_the_log_of_each() -> None:
    with recorded("fab", DEPLOY) as kept, prefixed("a"), answer.collected():
        answer.show("a plan")
        kept.end(whole("a", "b"))
    assert (storage.root() / kept.name / "logs/a.log").read_text().endswith("  a plan\n")


def test_a_log_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MOST", 1000)
    with recorded("fab", DEPLOY) as kept:
        with prefixed("a"):
            for _ in range(100):
                say("x" * 100)
        with prefixed("b"):
            say("whole")
        kept.end(whole("a", "b"))
    log = (storage.root() / kept.name / "logs/a.log").read_text()
    assert len(log) < 1100 and log.endswith("… the rest is left out\n")
    assert (storage.root() / kept.name / "logs/b.log").read_text().endswith("  whole\n")


def test_a_state_directory_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with recorded("fab", DEPLOY) as kept:
        events.tell("run-begin", hosts=["a"])
        say("goes on")
        kept.end(whole("a"))
    said = capsys.readouterr()
    assert said.out == "goes on\n" and kept.name == ""
    assert said.err.startswith("warning: there will be no record of this run: ") and said.err.count("\n") == 1


def test_a_record_that_breaks_in_the_middle_is_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with recorded("fab", DEPLOY) as kept:
        logs = storage.root() / kept.name / storage.LOGS
        logs.rmdir()
        logs.write_text("")
        for _ in range(3):
            with prefixed("a"):
                say("goes on")
        kept.end(whole("a"))
    said = capsys.readouterr()
    assert said.out == "a: goes on\n" * 3
    assert said.err.count("the record of this run is no longer written") == 1 == said.err.count("\n")
    assert history.runs()[0].state == "killed"
    assert kept.name == "", "it is not to be tried again"


def test_events_that_cannot_be_written_are_named_by_their_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create = storage.create_file
    with Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr(storage, "create_file", lambda path: full if path.name == storage.EVENTS else create(path))
        with recorded("fab", DEPLOY) as kept:
            events.tell("run-begin", hosts=["a"])
    said = f"the record of this run, {storage.root() / kept.name / storage.EVENTS}, is no longer written: [Errno 28]"
    assert said in capsys.readouterr().err


def test_old_records_that_cannot_be_removed_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(now: float) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(storage, "prune", fails)
    with recorded("fab", DEPLOY) as kept:
        kept.end(whole("a"))
    assert history.runs()[0].state == "ended"
    assert capsys.readouterr().err == "warning: old records of runs cannot be removed: read-only\n"


def test_what_is_written_is_ascii_json() -> None:
    with recorded("fab", DEPLOY) as kept:
        kept.end(FleetReport(0, {"é": HostReport("ok")}))
    for name in (storage.HEAD, storage.DOCUMENT):
        written = (storage.root() / kept.name / name).read_text()
        assert written.isascii() and json.loads(written)["schema"] == 1
