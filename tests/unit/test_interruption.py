"""What a signal stops: sections that have not begun, what only reads at once, changes only the second time."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import pytest

from fabfile import console, events, interruption, workers
from fabfile.errors import Interrupted
from fabfile.interruption import CUT, NOTHING, STOP
from fabfile.output import outcome


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No signal has come, and none is left for another test."""
    monkeypatch.setattr(interruption, "_asked", NOTHING)
    monkeypatch.setattr(interruption, "_signals", queue.SimpleQueue())
    yield
    interruption._asked = NOTHING


@pytest.mark.parametrize("asked", [STOP, CUT])
def test_a_unit_that_has_not_begun_does_not(asked: int) -> None:
    interruption._asked = asked
    with pytest.raises(Interrupted) as interrupted, interruption.section("second", "third, fourth"):
        raise AssertionError
    assert interrupted.value.what == "interrupted before second"
    assert interrupted.value.details == "not started: second, third, fourth"
    assert interrupted.value.code == 130


@pytest.mark.parametrize(
    ("asked", "read_only", "begun", "goes_on"),
    [
        (STOP, True, False, False),
        (STOP, False, False, False),
        (STOP, True, True, True),
        (STOP, False, True, True),
        (CUT, True, True, False),
        (CUT, False, True, False),
    ],
)
def test_a_script_begins_only_within_what_has_begun_to_change_something(
    asked: int, read_only: bool, begun: bool, goes_on: bool
) -> None:
    scripts = []

    def section() -> None:
        with interruption.section("step"):
            if begun:
                with interruption.cut_by(lambda: None, read_only=False):
                    scripts.append("first")
            interruption._asked = asked
            with interruption.cut_by(lambda: None, read_only=read_only):
                scripts.append("second")

    if goes_on:
        section()
    else:
        with pytest.raises(Interrupted, match="interrupted during step"):
            section()
    assert ("second" in scripts) == goes_on


@pytest.mark.parametrize(("earlier", "goes_on"), [(False, False), (True, True)])
def test_what_did_nothing_does_not_count_as_begun(earlier: bool, goes_on: bool) -> None:
    looked = []
    with suppress(Interrupted), interruption.section("step"):
        for _ in range(1 + earlier):
            with interruption.cut_by(lambda: None, read_only=False):
                pass
        interruption.undone()
        interruption._asked = STOP
        with interruption.cut_by(lambda: None, read_only=True):
            looked.append("waits")
    assert bool(looked) == goes_on


def test_what_is_cut_is_no_failure_whatever_it_ends_with() -> None:
    def section(error: Exception | None) -> None:
        with interruption.section("step", "later"), interruption.cut_by(lambda: None, read_only=False):
            (work,) = interruption._works
            work.end()
            if error:
                raise error

    for error in (None, OSError("closed")):
        with pytest.raises(Interrupted) as interrupted:
            section(error)
        assert interrupted.value.what == "interrupted during step"
        assert interrupted.value.details == "stopped after 0 s, possibly half done\nnot started: later"
    assert not interruption._works


def test_what_has_ended_is_not_cut() -> None:
    cuts: list[int] = []
    with interruption.cut_by(lambda: cuts.append(1)):
        (work,) = interruption._works
    work.end()
    assert cuts == []


def test_on_this_machine_the_main_thread_is_interrupted_unless_it_changes_something() -> None:
    handle = interruption._handler(here=True)
    with pytest.raises(Interrupted, match="before any change"), interruption.section("step"):
        handle(signal.SIGINT, None)
    interruption._asked = NOTHING
    with (
        pytest.raises(Interrupted, match=r"^error: interrupted during step\n"),
        interruption.section("step"),
        interruption.uncancellable(),
    ):
        handle(signal.SIGINT, None)
        assert interruption.asked() == STOP
        handle(signal.SIGINT, None)
        raise AssertionError


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_are_as_the_second(number: int) -> None:
    interruption._handler(here=False)(number, None)
    assert interruption.asked() == CUT


def test_a_run_that_was_interrupted_ends_with_130_whatever_became_of_it() -> None:
    assert outcome.exit_code(["ok", "failed"]) == 1
    interruption._asked = STOP
    assert outcome.exit_code(["ok", "failed"]) == 130


class Item(msgspec.Struct, frozen=True):
    """Something to do."""

    name: str


def test_each_is_done_once_by_no_more_threads_than_allowed() -> None:
    together = threading.Barrier(3)  # those that wait for each other run at the same time
    counts: list[int] = []
    inside, lock = set(), threading.Lock()

    def do(item: Item) -> str:
        with lock:
            inside.add(item.name)
            counts.append(len(inside))
        together.wait(10)
        with lock:
            inside.remove(item.name)
        together.wait(10)
        return item.name.upper()

    items = [Item(f"h{number}") for number in range(21)]
    reports = workers.each(items, 3, do, lambda item, why: why)
    assert list(reports.items()) == [(item.name, item.name.upper()) for item in items]
    assert max(counts) == 3


def test_one_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "TICK", 0.01)
    monkeypatch.setattr(interruption, "GRACE", 0.05)
    hang = threading.Event()

    def do(item: Item) -> str:
        if item.name == "hangs":
            interruption._asked = CUT
            hang.wait(30)
        if item.name == "connects":
            with suppress(Interrupted), interruption.connecting():
                (work,) = interruption._works
                threading.Thread(target=work.end).start()
                hang.wait(30)
        return "done"

    reports = workers.each([Item("quick"), Item("connects"), Item("hangs")], 3, do, lambda item, why: why)
    hang.set()
    assert reports == {
        "quick": "done", "connects": "it was still connecting", "hangs": workers.LOST,
    }  # fmt: skip


def test_nothing_more_is_heard_of_one_that_was_left(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[tuple[str, str]] = []
    given_up: list[str] = []

    def do(item: Item) -> str:
        with console.prefixed(item.name), events.on(item.name):
            if item.name == "connects":
                with suppress(Interrupted), interruption.connecting(), suppress(Interrupted), interruption.connecting():
                    for _ in range(2):
                        for work in list(interruption._works):
                            work.end()
            console.say("says this")
            events.tell("host-end")
        return "done"

    def leave(item: Item, why: str) -> str:
        given_up.append(item.name)
        return why

    with events.heard_by(lambda event: heard.append((event.host, event.event))):
        reports = workers.each([Item("connects"), Item("next")], 1, do, leave)
    assert reports == {"connects": "it was still connecting", "next": "done"}
    assert given_up == ["connects"]
    assert heard == [("next", "host-end")] and capsys.readouterr().out == "next: says this\n"
