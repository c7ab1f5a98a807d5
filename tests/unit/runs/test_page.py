"""A report is one file of well-formed HTML that fetches nothing, whatever hosts printed."""

from __future__ import annotations

import re
import stat
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invoke import Config, Context

from fabfile.errors import Failed, Refused
from fabfile.output.outcome import FleetReport, HostReport, Outcome, TaskReport, Trouble, Unfinished
from fabfile.runs import history, page
from fabfile.runs.history import Recorded, Run
from fabfile.runs.record import recorded
from tests.reference import all_tasks
from tests.unit.pool.machines import done
from tests.unit.runs.calls import READ_ONLY

VOID = {"meta", "link", "br", "img", "input", "hr"}
FETCHES = {"src", "href", "xlink:href", "action", "data", "poster", "srcset", "background", "ping"}


class Strict(HTMLParser):
    """Every element is closed in its order, and none is a script or names another file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what is opened."""
        names = [name for name, _ in attrs]
        assert tag not in ("script", "iframe", "object", "embed", "base", "link", "img", "form")
        assert not FETCHES & set(names) and not [name for name in names if name.startswith("on")]
        assert len(names) == len(set(names)) and all(value is not None for _, value in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Take what is closed."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Take a text."""
        self.texts.append(data.strip())


def run(command: str = "fab -H hosts deploy", **more: Any) -> Run:
    head = {"run": "20261128-024452-123", "state": "ended", "begin": 1.0, "end": 9.0, "exit_code": 1, "hosts": {}}
    return Run(**{**head, "command": command, **more})


def host(status: Any, name: str = "make it", answer: Any = None, error: Trouble | None = None) -> HostReport:
    changes = [{"type": "command", "why": name, "script": "true"}]
    task = TaskReport("pool.status", status, 3.0, [Outcome("one", "changed", name, 1.0, changes)], error=error)
    task.result = answer
    task.unfinished = Unfinished("two", 2.0) if error else None
    return HostReport(status, 3.5, [task], error)


def test_all_that_a_reader_looks_for_is_in_it() -> None:
    broken = Trouble("two: it broke", "exit code 1", "fab -H b doctor")
    pool = {"status": {"used_data": 1, "total_data": 4, "used_meta": 9, "total_meta": 10}}
    hosts = {"a": host("changed", answer=pool), "b": host("failed", error=broken), "c": host("failed", error=broken)}
    texts = Strict(page.page(Recorded(run(), hosts, "/x"))).texts
    for wanted in ("fab -H hosts deploy", "one", "two", "make it", "all 3 hosts", "b, c", "exit code 1",
                   "fab -H b doctor", "25.0%", "90.0%", "connecting and gathering facts", "2 failed"):  # fmt: skip
        assert wanted in texts, wanted
    assert texts.count("fab -H b doctor") == 1, "the same error on two hosts is told once"


def test_what_was_not_asked_and_did_not_happen_has_no_part() -> None:
    texts = Strict(page.page(Recorded(run(), {"a": HostReport("ok")}, "/x"))).texts
    assert not {"Pools", "Errors", "Changes", "Steps", "Time by step and host"} & set(texts)


@pytest.mark.parametrize(("state", "says"), [("killed", "it was killed"), ("running", "it is still in progress")])
def test_a_run_without_an_end_says_so(state: Any, says: str) -> None:
    text = page.page(Recorded(run(state=state, end=None, exit_code=None), {"a": HostReport("interrupted")}, "/x"))
    assert says in text and "exit code" not in text


def test_nothing_is_fetched() -> None:
    text = page.page(Recorded(run(), {"a": host("changed")}, "/x"))
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|url\(|@import|//", text)


HOSTILE = "<script>alert(1)</script>\"'>&{{ 7 * 7 }}\x1b[2J\x00\ud800"


def test_what_a_host_prints_is_text() -> None:
    trouble = Trouble(HOSTILE, HOSTILE, HOSTILE)
    text = page.page(Recorded(run(HOSTILE), {HOSTILE: host("failed", HOSTILE, error=trouble)}, "/x"))
    assert "<script" not in text and "\x1b" not in text and "\x00" not in text and "49" not in text
    text.encode()
    assert any("<script>alert(1)" in each for each in Strict(text).texts)


@given(text=st.text(st.characters()))
def test_any_text_is_well_formed(text: str) -> None:
    Strict(page.page(Recorded(run(text), {text: host("failed", text, error=Trouble(text, text, text))}, "/x")))


def kept() -> str:
    """A record."""
    with recorded("fab", READ_ONLY) as record:
        record.end(FleetReport(0, {"a": host("changed")}))
    return record.name


@pytest.fixture
def c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """This machine, in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    return Context()


def test_it_is_written_for_its_owner_alone(c: Context, tmp_path: Path) -> None:
    name = kept()
    report = done("runs.report", c)
    assert report.result == page.Page(f"{name}.html", name)
    assert stat.S_IMODE((tmp_path / f"{name}.html").stat().st_mode) == 0o600
    done("runs.report", c, run=name, to=str(tmp_path / "x.html"))
    assert (tmp_path / "x.html").read_text() == (tmp_path / f"{name}.html").read_text() == page.page(history.read(name))


def test_dry_writes_nothing(tmp_path: Path, c: Context) -> None:
    kept()
    report = done("runs.report", Context(Config(overrides={"run": {"dry": True}})))
    assert report.status == "pending" and not list(tmp_path.glob("*.html"))


def test_a_file_that_cannot_be_written_fails(c: Context) -> None:
    kept()
    assert all_tasks()["runs.report"].options["to"].kind is str
    with pytest.raises(Failed, match="the report /dev/full cannot be written"):
        page.write_report(c, "", "/dev/full")
    for to, what in ("~nouser/x", "cannot write ~nouser/x"), ("-", "- is not a file"):
        with pytest.raises(Refused, match=f"--to: {what}"):
            page.write_report(c, "", to)
    with pytest.raises(Refused, match="no run '2020'"):
        page.write_report(c, "2020", "")
