"""A script as arguments of the command that runs it, for any login shell.

A host's sshd takes standard input only after it has answered the request to run a command. A script that is part of the
request saves that round trip, and the process that would read it. Every user of the host can see it while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator

RUN = 'eval "$(printf %b "$@")"'
"""Shell that runs the script in its arguments."""

MOST = 100_000
"""Limit for all arguments in bytes; Linux has one of 128 KiB for the whole command (MAX_ARG_STRLEN in execve(2))."""

PIECE = 1000
"""Characters of the script in an argument, which takes five bytes for each of some: a word of csh has at most 8 KiB."""

ESCAPES = str.maketrans({character: f"\\0{ord(character):03o}" for character in "\\'!\n"})
"""What is special between single quotes, in any of sh, csh and fish, as printf's %b reads it."""


def arguments(script: str) -> list[str]:
    """Return the arguments for `RUN`; none if the script is too long."""
    words = [f"'{piece.translate(ESCAPES)}'" for piece in _pieces(script)]
    return words if sum(len(word.encode(errors="surrogateescape")) + 1 for word in words) <= MOST else []


def _pieces(script: str) -> Iterator[str]:
    for begin in range(0, len(script), PIECE):
        yield script[begin : begin + PIECE]
