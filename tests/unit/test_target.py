"""run, sh, stage: one command line, quoted once, never touched by --dry; what went wrong is told in three parts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invoke import Context, Result
from invoke.config import Config

from fabfile import target
from fabfile.errors import Failed
from tests.unit.fakes import Machine, Remote


class Recorder:
    """A `c` that answers every command with one result and remembers the command and its options."""

    def __init__(self, result: Result | None = None) -> None:
        self.result = Result() if result is None else result
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def run(self, command: str, **options: Any) -> Result:
        """Remember it."""
        self.calls.append((command, options))
        return self.result


def test_a_script_travels_as_one_word_behind_our_environment() -> None:
    c = Recorder()
    target.run(c, 'echo "it\'s $HOME"; a && b | c\n')
    command, _ = c.calls[0]
    words = shlex.split(command)
    assert words[:3] == ["exec", "sh", "-c"]
    assert words[4] == target.PROLOGUE + 'echo "it\'s $HOME"; a && b | c\n'
    assert len(words) == 5


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_no_text_breaks_out_of_its_quotes(text: str) -> None:
    c = Recorder()
    target.run(c, text)
    assert shlex.split(c.calls[0][0])[4:] == [target.PROLOGUE + text]


def test_root_is_had_by_sudo_without_a_question_and_only_where_needed() -> None:
    c = Recorder()
    target.run(c, "true")
    switch = shlex.split(c.calls[0][0])[3]
    assert '[ "$(id -u)" -eq 0 ]' in switch
    assert "exec sudo -n sh -c" in switch


def test_how_it_is_run() -> None:
    c = Recorder()
    target.run(c, "true")
    assert c.calls[0][1] == {
        "shell": "/bin/sh", "hide": True, "warn": True, "in_stream": False, "dry": False, "echo": False, "pty": False,
    }  # fmt: skip


def test_dry_reaches_no_script_through_a_real_context(monkeypatch: pytest.MonkeyPatch) -> None:
    c = Context(Config(overrides={"run": {"dry": True}}))
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(c, "_run", lambda runner, command, **options: seen.append(options) or Result())
    assert target.is_dry(c)
    target.run(c, "true")
    assert seen[0]["dry"] is False


@pytest.mark.parametrize("code", [0, 1, 2, 127, -9])
def test_run_gives_every_exit_code_back(code: int) -> None:
    assert target.run(Recorder(Result(stdout="x", exited=code)), "false").exited == code


def test_a_lost_connection() -> None:
    with pytest.raises(Failed, match="the connection was lost") as failed:
        target.run(Recorder(Result(stderr="reset by peer", exited=-1)), "true")
    assert "reset by peer" in failed.value.details
    assert "run it again" in failed.value.hint


def test_no_root() -> None:
    with pytest.raises(Failed, match="this needs root") as failed:
        target.run(Recorder(Result(stderr="sudo: a password is required\n", exited=1)), "true")
    assert "sudo: a password is required" in failed.value.details
    assert "password-less sudo" in failed.value.hint


def test_a_script_that_only_speaks_of_sudo_is_not_taken_for_it() -> None:
    assert target.run(Recorder(Result(stderr="see sudo: it failed", exited=1)), "true").exited == 1


def test_sh_returns_what_was_printed() -> None:
    assert target.sh(Recorder(Result(stdout=" a\nb\n")), "true", "asking") == " a\nb\n"


def test_sh_fails_with_what_was_done_and_both_outputs() -> None:
    with pytest.raises(Failed) as failed:
        target.sh(Recorder(Result(stdout="out\n", stderr="err\n", exited=3)), "true", "asking")
    assert str(failed.value) == "error: asking failed\n  exit code 3\n  out\n  err"


def test_staging_here_is_the_file_itself(tmp_path: Path) -> None:
    source = tmp_path / "go.tar.gz"
    c = Machine([""])
    assert target.stage(c, source, "go-1") == str(source)
    target.unstage(c, [str(source)])
    assert c.log == [], "a file of the controller is never removed"


def test_staging_elsewhere_is_a_copy_that_unstage_removes(tmp_path: Path) -> None:
    source = tmp_path / "go.tar.gz"
    source.write_text("content")
    c = Remote([""])
    path = target.stage(c, source, "go-1")
    assert c.files == {path: "content"}
    assert Path(path).parent == Path("/var/tmp"), "/tmp may be a small tmpfs"
    target.unstage(c, [path, "/a b"])
    assert c.scripts == [f"{target.PROLOGUE}rm -f {path} '/a b'"]


def test_a_machine_without_room_is_told_apart_from_a_lost_connection(tmp_path: Path) -> None:
    class Full(Remote):
        def put(self, local: str, remote: str) -> None:
            raise OSError("Failure")

    with pytest.raises(Failed) as failed:
        target.stage(Full([""]), tmp_path / "go.tar.gz", "go-1")
    assert "could not bring go-1 to the machine" in str(failed.value)
    assert "df -h /var/tmp" in str(failed.value)


def test_unstaging_nothing_asks_nothing() -> None:
    c = Remote([""])
    target.unstage(c, [])
    assert c.log == []
