"""What several hosts answer is shown once, in an order that does not depend on who was first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from fabfile import console
from fabfile.errors import Failed, Found
from fabfile.output import answer, outcome
from fabfile.output.answer import Answer
from fabfile.output.fleet_answers import WIDTH, Together, plans


def call(together: Any = None, name: str = "deploy") -> Any:
    """Invoke's call of a task."""
    return SimpleNamespace(task=SimpleNamespace(together=together), called_as=name)


def answered(calls: Sequence[Any], hosts: dict[str, Callable[[int], None]], *, dry: bool = True) -> None:
    """Have hosts answer, each in a thread of its own and one after the other, the last one first; then show it."""
    together = Together(calls, sorted(hosts), dry=dry, plain=True)

    def do(host: str) -> None:
        for number in range(len(calls)):
            with together.of(number, host):
                hosts[host](number)

    for host in sorted(hosts, reverse=True):
        thread = threading.Thread(target=do, args=(host,))
        thread.start()
        thread.join()
    together.show()


def says(text: str) -> Callable[[int], None]:
    """A host that answers this."""
    return lambda number: answer.show(text, always=True)


def nothing(number: int) -> None:
    """A host that has no answer."""


def test_equal_plans_are_shown_once_those_of_most_hosts_first(capsys: pytest.CaptureFixture[str]) -> None:
    hosts = {"web01": says("pending  packages\n    * packages lvm2"), "web02": says("ok       packages")}
    answered([call()], {**hosts, "web03": says("ok       packages"), "web04": nothing})
    assert capsys.readouterr().out.splitlines() == [
        "",
        "2 hosts: web[02-03]",
        "ok       packages",
        "",
        "1 host: web01",
        "pending  packages",
        "    * packages lvm2",
        "",
        "no answer from 1 host: web04",
    ]


def test_each_task_has_a_part_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    hosts = dict.fromkeys(("a1", "a2"), lambda number: answer.show(f"plan {number}"))
    answered([call(), call(name="smoke")], hosts)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["", "deploy:", "2 hosts: a[1-2]", "plan 0", "", "smoke:", "2 hosts: a[1-2]", "plan 1"]


def test_a_host_alone_answers_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    together = Together([call()], ["web1"], dry=True, plain=True)
    with together.of(0, "web1"):
        answer.show("plan")
        answer.compare(lambda: pytest.fail("a row that nobody needs"))
        assert capsys.readouterr().out == "plan\n"
    together.show()
    assert capsys.readouterr().out == ""


def test_where_nothing_is_planned_each_host_speaks_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    answered([call()], {"a1": says("one"), "a2": says("one")}, dry=False)
    assert capsys.readouterr().out == "one\none\n"


def test_nobody_answered(capsys: pytest.CaptureFixture[str]) -> None:
    answered([call()], {"a1": nothing, "a2": nothing})
    assert capsys.readouterr().out == ""


def test_beside_a_document_plans_are_shown_and_tables_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(answers: dict[str, Answer], width: int) -> list[str]:
        pytest.fail("the document has it")

    monkeypatch.setattr(console, "_document", True)
    hosts = {"a1": says("plan"), "a2": says("plan")}
    answered([call(), call(together=never, name="status")], hosts)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["", "deploy:", "2 hosts: a[1-2]", "plan"]


def test_what_differs_is_said_below_the_plans_and_fits(capsys: pytest.CaptureFixture[str]) -> None:
    def answers(value: str) -> Answer:
        new = Answer()
        new.text, new.row = ["ok       runc.install"], {"runc": value}
        return new

    hosts = {f"{'x' * (number + 20)}{number}": answers(f"1.3.{number}") for number in range(6)}
    head, plan, blank, *drift = plans(hosts, 60)
    assert head.startswith("6 hosts: ") and plan == "ok       runc.install" and blank == ""
    assert drift[0].startswith("drift: runc 1.3.0 on xxx") and all(line.startswith("  ") for line in drift[1:])
    assert max(map(len, drift)) <= 60 < len(" ".join(drift))


def test_what_a_look_found_is_not_said_twice() -> None:
    with answer.collected():
        assert outcome.explained(Found("doctor: pool", "see above"))[2] == ""
        assert "it broke" in outcome.explained(Failed("it broke"))[2]
    status, trouble, text = outcome.explained(Found("doctor: pool", "see above"))
    assert (status, trouble and trouble.what) == ("failed", "doctor: pool") and "see above" in text


def test_a_table_is_as_wide_as_it_may_be() -> None:
    widths: list[int] = []

    def view(answers: dict[str, Answer], width: int) -> list[str]:
        widths.append(width)
        return ["table"]

    answered([call(together=view)], {"a1": says("x"), "a2": says("x")}, dry=False)
    assert widths == [WIDTH]
