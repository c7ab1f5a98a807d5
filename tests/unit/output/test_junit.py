"""The file of --junit is XML whatever hosts print, and every step is a case in it that ended as it did."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import Failed
from fabfile.output import junit
from fabfile.output.outcome import HostReport, Outcome, TaskReport, Trouble, Unfinished

BEGIN = 1_795_834_541.09


def suite(hosts: dict[str, HostReport]) -> Element:
    """What a parser makes of it."""
    (found,) = fromstring(junit.document("deploy", hosts, BEGIN))
    return found


def told(case: Element) -> tuple[str | None, str | None, str]:
    return case.get("classname"), case.get("name"), ",".join(each.tag for each in case)


def host(*tasks: TaskReport) -> HostReport:
    report = HostReport()
    for task in tasks:
        report.add(task)
    return report


BROKEN = Trouble("two: it broke", "exit code 1\nno room", "make room")


def test_each_step_is_a_case_and_counted() -> None:
    steps = [Outcome("zero", "ok", "nothing to do", 0.1), Outcome("one", "changed", "made it", 1.5)]
    failed = TaskReport("deploy", "failed", 4.0, steps, ["three"], error=BROKEN, unfinished=Unfinished("two", 2.0))
    found = suite({"a": host(failed), "b": host(TaskReport("status", "unreachable", 20.0, error=Trouble("gone")))})
    assert [told(case) for case in found] == [
        ("a", "deploy: zero", ""),
        ("a", "deploy: one", "system-out"),
        ("a", "deploy: two", "failure"),
        ("a", "deploy: three", "skipped"),
        ("b", "status", "error"),
    ]
    counts = {name: found.get(name) for name in ("name", "tests", "failures", "errors", "skipped", "time", "timestamp")}
    assert counts == {
        "name": "deploy", "tests": "5", "failures": "1", "errors": "1", "skipped": "1", "time": "23.60",
        "timestamp": "2026-11-28T02:55:41",
    }  # fmt: skip
    failure = found[2][0]
    assert (failure.get("message"), failure.get("type")) == ("two: it broke", "failed")
    assert failure.text == "exit code 1\nno room\nmake room"


def test_what_would_be_changed_is_skipped_with_its_reason() -> None:
    (case,) = suite({"a": host(TaskReport("deploy", "pending", 1.0, [Outcome("one", "pending", "make it", 0)]))})
    assert told(case) == ("a", "deploy: one", "skipped")
    assert case[0].get("message") == "make it"


def test_a_host_that_came_to_no_task_is_a_case() -> None:
    (case,) = suite({"a": HostReport("interrupted", error=Trouble("interrupted before deploy"))})
    assert told(case) == ("a", "start", "error")


@given(text=st.text(st.characters()) | st.binary().map(lambda data: data.decode(errors="surrogateescape")))
def test_any_text_is_xml(text: str) -> None:
    task = TaskReport(text, "failed", 1.0, [Outcome(text, "changed", text, 1)], [text], error=Trouble(text, text, text))
    found = suite({text: host(task)})
    assert len(found) == 3
    assert all(character.isprintable() or character in "\t\n" for character in found[1][0].get("message", ""))


def test_it_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    calls: list[Any] = [SimpleNamespace(called_as=name) for name in ("packages", "smoke")]
    junit.write(str(tmp_path / "x"), calls, {"a": HostReport()}, BEGIN)
    assert fromstring((tmp_path / "x").read_bytes())[0].get("name") == "packages smoke"
    with pytest.raises(Failed, match="--junit: /dev/full cannot be written"):
        junit.write("/dev/full", calls, {}, BEGIN)
