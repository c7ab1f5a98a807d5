"""run, sh, stage: a script goes to a machine on standard input, whatever --dry says; errors have three parts."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import Failed
from fabfile.remote import execution, sudo, target
from fabfile.remote.execution import ScriptResult
from tests.unit.fakes import Machine, Remote, Reply


class Says(Machine):
    """A machine that answers every script with one exit code and text, or with exactly these bytes."""

    def __init__(self, code: int = 0, said: str = "", raw: bytes | None = None, error: bytes = b"") -> None:
        super().__init__([""])
        self.code, self.said, self.raw, self.error = code, said, raw, error
        self.commands: list[str] = []

    def begin(self, command: str) -> Reply:
        self.commands.append(command)
        return Raw(self, command) if self.raw is not None else Reply(self, command)

    def answer(self, script: str, data: bytes) -> tuple[int, str]:
        self.scripts.append(script)
        return self.code, self.said


class Raw(Reply):
    """An answer that does not come from our script."""

    machine: Says

    def read(self, size: int, seconds: float) -> tuple[bytes, bytes]:
        self.code, out, self.machine.raw = self.machine.code, self.machine.raw or b"", b""
        error, self.machine.error = self.machine.error, b""
        return out, error


def test_a_script_travels_behind_our_environment_and_not_in_the_command_line() -> None:
    c = Says()
    target.run(c, 'echo "it\'s $HOME"; a && b | c\n')
    assert c.scripts == [target.PROLOGUE + 'echo "it\'s $HOME"; a && b | c\n']
    words = shlex.split(c.commands[0])
    assert words[:4] == ["exec", "sh", "-c", sudo.SILENT]
    assert "HOME" not in c.commands[0] and len(words) == 5


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_every_script_arrives_as_it_is(text: str) -> None:
    c = Says()
    target.run(c, text)
    assert c.scripts == [target.PROLOGUE + text]


def test_root_is_had_by_sudo_without_a_question_and_only_where_needed() -> None:
    assert '[ "$(id -u)" -eq 0 ]' in sudo.SILENT
    assert "exec sudo -n sh -c" in sudo.SILENT
    assert not set(sudo.SILENT + sudo.ASKING) & set("'!\\\n"), "a csh would change them"


def test_dry_keeps_no_script_from_running() -> None:
    c = Machine([""], dry=True)
    assert target.is_dry(c)
    target.run(c, "true")
    assert len(c.scripts) == 1


@pytest.mark.parametrize("code", [0, 1, 2, 75, 127])
def test_run_gives_every_exit_code_back(code: int) -> None:
    assert target.run(Says(code, "x"), "false") == ScriptResult(code, "x")


@pytest.mark.parametrize("said", ["", "\n", "a\n", "a", "@@1 end 0\n", "€\t\x1b"])
def test_what_is_printed_comes_back_as_it_is(said: str) -> None:
    assert target.run(Says(0, said), "true").stdout == said


def test_bytes_that_are_no_text_come_back_as_they_are() -> None:
    raw = bytes(range(256))
    text = raw.decode(errors="surrogateescape")
    assert execution.encoded(text) == raw


def test_a_login_shell_that_prints_something_changes_nothing() -> None:
    class Noisy(Reply):
        def read(self, size: int, seconds: float) -> tuple[bytes, bytes]:
            first = self.output is None
            out, error = super().read(size, seconds)
            return b"Welcome to lab-1!\n" + out if first else out, error

    class Host(Says):
        def begin(self, command: str) -> Reply:
            return Noisy(self, command)

    assert target.run(Host(3, "x\n"), "true") == ScriptResult(3, "x\n")


def test_a_shell_that_runs_something_else_is_noticed() -> None:
    with pytest.raises(Failed, match="did not run the script") as failed:
        target.run(Says(0, raw=b"This account is not available.\n"), "true")
    assert "not available" in failed.value.details


def test_no_root() -> None:
    with pytest.raises(Failed, match="this needs root") as failed:
        target.run(Says(1, raw=b"", error=b"sudo: a password is required\n"), "true")
    assert "sudo: a password is required" in failed.value.details
    assert "password-less sudo" in failed.value.hint and "--prompt-for-sudo-password" in failed.value.hint


def test_more_output_than_the_limit_ends_the_script() -> None:
    with pytest.raises(Failed, match="printed more than 1 MiB"):
        execution.script(Says(0, "x" * (2 << 20)), "yes", most=1 << 20)


def test_sh_returns_what_was_printed() -> None:
    assert target.sh(Says(0, " a\nb\n"), "true", "asking") == " a\nb\n"


def test_sh_fails_with_what_was_done_and_the_output() -> None:
    with pytest.raises(Failed) as failed:
        target.sh(Says(3, "out\n"), "true", "asking")
    assert str(failed.value) == "error: asking failed\n  exit code 3\n  out"


def test_staging_here_is_the_file_itself(tmp_path: Path) -> None:
    source = tmp_path / "go.tar.gz"
    c = Machine([""])
    assert target.stage(c, source, "go-1") == str(source)
    target.unstage(c, [str(source)])
    assert c.log == [], "a file of the controller is never removed"


def test_staging_elsewhere_is_a_copy_of_roots_own_that_unstage_removes(tmp_path: Path) -> None:
    source = tmp_path / "go.tar.gz"
    source.write_text("content")
    c = Remote([""])
    path = target.stage(c, source, "go-1")
    assert c.files == {path: "content"}
    other = "/var/tmp/containerd-devmapper.0123456789/file"
    target.unstage(c, [path, other])
    assert c.scripts == [f"{target.PROLOGUE}rm -rf {path.removesuffix('/file')} {other.removesuffix('/file')}"]


@pytest.mark.parametrize(
    "path", ["/", "/a b/file", "/var/tmp/file", "/var/tmp/containerd-devmapper.0123456789/../x/file"]
)
def test_only_what_was_staged_is_removed(path: str) -> None:
    c = Remote([""])
    with pytest.raises(ValueError, match="not staged"):
        target.unstage(c, ["/var/tmp/containerd-devmapper.0123456789/file", path])
    assert c.scripts == []


@pytest.mark.parametrize("said", ["", "/etc/file", "motd\n/var/tmp/containerd-devmapper.0123456789/file"])
def test_a_host_that_names_another_file_is_not_believed(said: str, tmp_path: Path) -> None:
    class Wrong(Remote):
        def answer(self, script: str, data: bytes) -> tuple[int, str]:
            return 0, said

    (source := tmp_path / "go.tar.gz").write_text("content")
    with pytest.raises(Failed, match="could not upload go-1") as failed:
        target.stage(Wrong([""]), source, "go-1")
    assert failed.value.hint.endswith("mktemp -du /var/tmp/containerd-devmapper.XXXXXXXXXX")


def test_a_machine_without_room_is_told_apart_from_a_lost_connection(tmp_path: Path) -> None:
    class Full(Remote):
        def answer(self, script: str, data: bytes) -> tuple[int, str]:
            return 1, "only 3 of 7 bytes came\n"

    source = tmp_path / "go.tar.gz"
    source.write_text("content")
    with pytest.raises(Failed) as failed:
        target.stage(Full([""]), source, "go-1")
    assert "could not upload go-1 to the host" in str(failed.value)
    assert "only 3 of 7 bytes came" in failed.value.details
    assert "df -h /var/tmp" in str(failed.value)


def test_unstaging_nothing_asks_nothing() -> None:
    c = Remote([""])
    target.unstage(c, [])
    assert c.log == []
