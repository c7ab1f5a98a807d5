"""Where a sudo password comes from, and which are refused before anything is connected to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.errors import Refused
from fabfile.remote import password, sudo


@pytest.fixture(autouse=True)
def forgets() -> Iterator[None]:
    """No test has the password of the one before."""
    yield
    sudo.forget()


def read(file: Path) -> list[bytes]:
    """The password that is used with such a file."""
    password.take(prompt=False, file=str(file), command="")
    return list(sudo._passwords)


@pytest.mark.parametrize("text", ["a b\n", "a b", "a b\r\n", "é%s'\"\\$x", "x" * password.MOST + "\n"])
def test_a_file_has_it_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(text.encode())
    file.chmod(0o600)
    assert read(file) == [text.rstrip("\r\n").encode()]


CONTENTS = {
    "": "the password is empty",
    "\n": "the password is empty",
    "a\nb\n": "this is not one line",
    "a\0b": "this is not one line",
    "x" * (password.MOST + 1): "the password is too long",
}


@pytest.mark.parametrize("text", CONTENTS, ids=CONTENTS.values())
def test_a_file_with_something_else_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "secret"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(Refused, match=CONTENTS[text]) as refused:
        read(file)
    assert not text.strip() or text.strip() not in str(refused.value)
    assert not sudo._passwords


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o601])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "se cret"
    file.write_text("x\n")
    file.chmod(mode)
    with pytest.raises(Refused, match="others can use") as refused:
        read(file)
    assert refused.value.hint == f"chmod 600 '{file}'"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x\n")
    file.chmod(0o600)
    os.chown(file, 61000, 61000)
    with pytest.raises(Refused, match="belongs to somebody else"):
        read(file)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "secret"
    if kind == "directory":
        file.mkdir()
    if kind == "fifo":
        os.mkfifo(file, 0o600)
    with pytest.raises(Refused, match="is not a regular file" if kind == "fifo" else "cannot read"):
        read(file)


def test_only_one_place_can_be_given() -> None:
    with pytest.raises(Refused, match="only one of them") as refused:
        password.take(prompt=True, file="x", command="")
    assert "--prompt-for-sudo-password and --sudo-password-file" in refused.value.what


def test_without_an_option_there_is_none() -> None:
    password.take(prompt=False, file="", command="")
    assert not sudo._passwords
