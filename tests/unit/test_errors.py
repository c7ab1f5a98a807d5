"""An error says what, the details and what to do, and carries the exit code that the design gives it."""

from __future__ import annotations

import pytest
from invoke.exceptions import Exit

from fabfile.errors import MOST, Failed, Pending, Problem, Refused, Unreachable


@pytest.mark.parametrize(("kind", "code"), [(Failed, 1), (Refused, 2), (Unreachable, 4)])
def test_exit_codes(kind: type[Problem], code: int) -> None:
    error = kind("no thin pool")
    assert isinstance(error, Exit), "inv and fab print an Exit without a traceback"
    assert error.code == code


def test_pending_is_silent_and_3() -> None:
    assert Pending().code == 3
    assert Pending().message is None


def test_three_parts() -> None:
    error = Failed("the pool is full", "data 100%\nmetadata 3%\n", hint="inv pool.grow")
    assert str(error) == "error: the pool is full\n  data 100%\n  metadata 3%\nhint: inv pool.grow"
    assert error.message == str(error), "what Invoke prints"


@pytest.mark.parametrize(
    ("details", "hint", "lines"),
    [
        ("", "", ["error: x"]),
        ("  \n", "", ["error: x"]),
        ("", "do y", ["error: x", "hint: do y"]),
        ("a\n\nb", "", ["error: x", "  a", "  ", "  b"]),
    ],
)
def test_an_empty_part_leaves_no_line(details: str, hint: str, lines: list[str]) -> None:
    assert str(Refused("x", details, hint)).split("\n") == lines


def test_details_without_end_are_shown_with_their_beginning_and_end() -> None:
    details = Failed("what", "begin" + "x" * 10_000_000 + "end").details
    assert details.startswith("beginx") and details.endswith("xend")
    assert "… 9934472 characters left out …" in details
    assert len(details) < 70_000


def test_no_part_of_a_password_is_left_where_details_are_cut() -> None:
    for cut in range(40):
        begin = "https://SECRET:SECRET@m/x".rjust(MOST // 2 + cut, ".")
        end = "https://SECRET:SECRET@m/x".ljust(MOST // 2 + cut, ".")
        assert not set("SECRT") & set(Failed("what", f"{begin} {'x' * MOST} {end}").details)
