"""What is said to sudo, and when."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fabfile.errors import Failed
from fabfile.remote import sudo
from fabfile.remote.sudo import Entrance

PASSWORD = b"a b%c"


class Says:
    """A command with this on its standard error, one piece for each time that it is read; it keeps what it is told."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.told, self.ended = list(pieces), b"", False

    def read(self, size: int, seconds: float) -> tuple[bytes, bytes]:
        assert 0 < seconds <= sudo.LIMIT
        return b"", self.pieces.pop(0) if self.pieces else b""

    def write(self, data: bytes, seconds: float) -> None:
        assert 0 < seconds <= sudo.LIMIT
        self.told += data

    def end_input(self) -> None:
        raise AssertionError("it has more to read")

    def cancel(self) -> None:
        self.ended = True

    def exit_code(self) -> int | None:
        return 1

    def lost(self) -> str:
        return ""


@pytest.fixture(autouse=True)
def password() -> Iterator[None]:
    """There is one."""
    sudo.use(PASSWORD)
    yield
    sudo.forget()


def test_it_is_told_when_it_is_asked_for_and_not_before() -> None:
    entrance = Entrance()
    question = entrance.question
    says = Says(b"it rains\n", question[:7], question[7:], b"warning\n" + entrance.ready + b"later\n")
    assert entrance.enter(says) == (True, b"", b"later\n")
    assert says.told == PASSWORD + b"\n"


def test_it_is_not_told_to_a_sudo_that_does_not_ask() -> None:
    entrance = Entrance()
    says = Says(b"sudo: unable to resolve host x\n", entrance.ready)
    assert entrance.enter(says) == (True, b"", b"")
    assert says.told == b""


def test_a_shell_that_prints_its_commands_is_not_sudo() -> None:
    entrance = Entrance()
    command = entrance.command("true").encode()
    assert entrance.question not in command and entrance.ready not in command
    says = Says(command, b"+ " + command + b"\n", b"Permission denied\n")
    entered, _, said = entrance.enter(says)
    assert not entered and says.told == b"" and said.endswith(b"Permission denied\n")


def test_a_second_question_is_not_answered() -> None:
    entrance = Entrance()
    says = Says(entrance.question, b"Sorry, try again.\n", entrance.question, entrance.ready)
    with pytest.raises(Failed, match="sudo rejected the password") as failed:
        entrance.enter(says)
    assert says.ended and says.told == PASSWORD + b"\n"
    assert failed.value.details == "Sorry, try again."


def test_a_host_that_prints_without_end_is_left() -> None:
    says = Says(*[b"x" * 4096] * 100)
    with pytest.raises(Failed, match="printed more than 64 KiB"):
        Entrance().enter(says)
    assert says.ended and says.told == b""


def test_without_a_password_nothing_is_waited_for() -> None:
    sudo.forget()
    entrance = Entrance()
    assert entrance.enter(Says(b"x")) == (True, b"", b"")
    assert re.search(r"exec sudo -n sh", entrance.command("true"))


def test_no_two_scripts_have_the_same_question() -> None:
    assert Entrance().question != Entrance().question
