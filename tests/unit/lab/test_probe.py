"""Answers are cached, and used only where they apply."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabfile import paths
from fabfile.errors import Failed
from fabfile.lab import probe


def never(directory: Path) -> str:
    pytest.fail("it was asked again")


@pytest.mark.parametrize("why", ["", "it does not boot here"])
def test_a_question_is_tried_once_and_its_answer_cached(why: str) -> None:
    asked = []

    def ask(directory: Path) -> str:
        assert directory.is_dir() and not list(directory.iterdir())
        (directory / "console.log").write_text("words")
        asked.append(directory)
        return why

    assert probe.remembered("uml", ("1",), ask) == why
    assert probe.remembered("uml", ("1",), never) == why
    assert not asked[0].exists()
    assert probe.remembered("uml", ("2",), ask) == why and len(asked) == 2


@pytest.mark.parametrize("left", ["", "no", "yes"])
def test_an_incomplete_answer_is_ignored(left: str) -> None:
    probe.remembered("uml", ("1",), lambda _: "")
    (answer,) = (path for path in (paths.cache() / "probes").iterdir() if not path.name.startswith("."))
    answer.write_text(left)
    assert probe.remembered("uml", ("1",), lambda _: "not any more") == "not any more"


def test_a_question_that_could_not_be_tried_has_no_cached_answer() -> None:
    def fail(directory: Path) -> str:
        raise Failed("mke2fs failed")

    with pytest.raises(Failed):
        probe.remembered("uml", ("1",), fail)
    assert probe.remembered("uml", ("1",), lambda _: "") == ""


def test_a_confined_process_does_not_use_the_answers_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, scope = tmp_path / "status", tmp_path / "ptrace_scope"
    monkeypatch.setattr(probe, "STATUS", status)
    monkeypatch.setattr(probe, "SECURITY", (scope, tmp_path / "none"))
    found = []
    for filters, allowed in ((0, 0), (1, 0), (1, 3)):
        status.write_text(f"Name:\tx\nPid:\t{filters}7\nCapEff:\t0\nNoNewPrivs:\t0\nSeccomp:\t{2 * filters}\n")
        scope.write_text(f"{allowed}\n")
        found.append(probe.confinement())
    assert found[0] == ["CapEff:\t0", "NoNewPrivs:\t0", "Seccomp:\t0", "0"]
    assert len({tuple(each) for each in found}) == 3
