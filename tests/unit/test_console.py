"""Output of machines is escaped, and output that cannot be written interrupts nothing."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.console import printable, say, shown
from fabfile.errors import Failed
from fabfile.paths import REPOSITORY


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("plain → text\twith a tab\n", "plain → text\twith a tab\n"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb\x08\x7f\x9b31m", "a\\x0db\\x08\\x7f\\x9b31m"),
        (b"\xff\xfe".decode(errors="surrogateescape"), "\\xff\\xfe"),
        ("right\u202eleft", "right\\u202eleft"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, readable: str) -> None:
    assert printable(text) == readable


def test_a_long_value_is_cut_and_its_password_is_not_shown_however_it_is_cut() -> None:
    said = shown(f"https://user:{'secret' * 10}@mirror.example/{'x' * 90}")
    assert len(said) < 80
    assert said.startswith("'https://***@mirror")
    assert "secret" not in said


@given(st.text())
def test_nothing_that_a_terminal_would_obey_is_left(text: str) -> None:
    assert all(each.isprintable() or each in "\n\t" for each in printable(text))


def test_errors_are_shown_so_too() -> None:
    assert str(Failed("a\x1b[2J", "b\x07", "c\x00")) == "error: a\\x1b[2J\n  b\\x07\nhint: c\\x00"


def test_a_character_that_the_terminal_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    say("128M → 256M")
    assert raw.getvalue() == b"128M \\u2192 256M\n"


PRINTS = re.compile(r"\bprint\(|\bsys\.(__)?(stdout|stderr)|\bos\.write\([12],")
"""What writes to a terminal."""

ELSEWHERE = ("fabfile/console.py", "fabfile/lab/kinds/uml_block.py", "fabfile/lab/kinds/uml_supervisor.py")
"""The only place, and separate processes whose output is a log."""


def test_nothing_else_writes_to_the_terminal() -> None:
    found = [path.relative_to(REPOSITORY).as_posix() for path in sorted((REPOSITORY / "fabfile").rglob("*.py"))
             if PRINTS.search(path.read_text())]  # fmt: skip
    assert found == list(ELSEWHERE)
