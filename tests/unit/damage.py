"""Damaged texts, for tests of code that reads what others wrote."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

PIECES = (
    "", " ", "\t", "\n", "\r", "\x0c", "\x85", "\x00", "\x1b[2J", "\ud800", "²", "é", "|", "=", "==", ",", ":", "/",
    ".", "..", "-", "-1", "0", "1", "1e9", "0x", "inf", "nan", "true", "null", '"', "'", '"""', "'''", "\\", "\\u0",
    "#", "[", "]", "[[", "]]", "{", "}", "{}", "[]", "_", "x", "@@ system\n", "@file ", "@mode 9 ", "9" * 25,
    "9" * 5000, "[" * 3000, "{a=" * 300, "a." * 600, "2020-01-01",
)  # fmt: skip
"""Insertions: characters with a meaning in some format, numbers of any size, and deep nesting."""


@st.composite
def damaged(draw: st.DrawFn, texts: Sequence[str]) -> str:
    """Draw one of the texts with a few words inserted, removed or doubled, or with one line doubled."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        piece = draw(st.sampled_from(PIECES) | st.text(max_size=5) | st.just(text[at - 9 : at + 9]))
        if draw(st.booleans()):  # a whole word goes
            end = next((place for place in range(at, len(text)) if text[place] in " \n|,="), len(text))
        else:
            end = at + draw(st.sampled_from([0, 0, 1, 3, 20]))
        text = text[:at] + piece + text[end:]
    return text
