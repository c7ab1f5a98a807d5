"""The document can be read by every program, and has no password in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import events
from fabfile.errors import MOST
from fabfile.events import Event
from fabfile.output import json_document
from fabfile.output.outcome import FleetReport, HostReport, Report, TaskReport, Trouble


@given(st.text(), st.text(st.characters(codec=None), max_size=20))
def test_the_document_is_ascii_and_reads_back_whatever_a_machine_said(said: str, name: str) -> None:
    report = HostReport(tasks=[TaskReport("run", result={"stdout": said})])
    text = json_document.document(FleetReport(0, {name: report}))
    assert text.isascii()
    assert "\n" not in text
    back = json.loads(text)
    assert next(iter(back)) == "schema"
    if "@" not in said + name:
        assert back["hosts"][name]["tasks"][0]["result"]["stdout"] == said


def test_no_password_is_in_it() -> None:
    text = json_document.document(Report(tasks=[TaskReport("t", result="https://user:secret@mirror/x")]))
    assert "secret" not in text
    assert json.loads(text)["tasks"][0]["result"] == "https://***@mirror/x"


ADDRESSES = {
    "origin\thttps://SECRET@github.com/x (fetch)": "origin\thttps://***@github.com/x (fetch)",
    "a\nhttps://SECRET@github.com/x": "a\nhttps://***@github.com/x",
    "ü\u20adhttps://SECRET@h": "ü\u20adhttps://***@h",
    "url https://example.com\nops@example.com\n": "url https://example.com\nops@example.com\n",
    "https://SECRET@h/" + "x" * MOST: "https://***@h/" + "x" * MOST,
}
"""What a host printed → the same without its password; escapes of JSON stand where words begin and end."""


@pytest.mark.parametrize(("said", "shown"), ADDRESSES.items())
def test_passwords_are_masked_by_the_words_of_a_text_and_nothing_else_is(said: str, shown: str) -> None:
    report = HostReport(tasks=[TaskReport("t", result=[{said: said}])], error=Trouble(said))
    back = json.loads(json_document.document(FleetReport(0, {"a": report})))["hosts"]["a"]
    assert back["tasks"][0]["result"] == [{shown: shown}]
    assert back["error"]["what"] == shown
    assert json.loads(events.line(Event(0, "host-end", error=said, hosts=[said]))) == {
        "time": 0, "event": "host-end", "error": shown, "hosts": [shown],
    }  # fmt: skip
