"""A script as arguments of the command that runs it, for any login shell.

A host's sshd takes standard input only after it has answered the request to run a command. A script that is part of the
request saves that round trip, and the process that would read it. Every user of the host can see it while it runs.
"""

from __future__ import annotations

RUN = 'eval "$(printf %b "$@")"'
"""Shell that runs the script in its arguments."""

MOST = 100_000
"""Limit for all arguments in bytes; Linux has one of 128 KiB for the whole command (MAX_ARG_STRLEN in execve(2))."""

PIECE = 1000
"""Characters of the script in an argument, which takes five bytes for each of some: a word of csh has at most 8 KiB."""

SPECIAL = "\\'!\n"
"""Characters that are special between single quotes in sh, csh or fish; first the backslash, which escapes them."""


def arguments(script: str) -> list[str]:
    """Return the arguments for `RUN`; none if the script is too long."""
    words = [f"'{escaped(script[begin : begin + PIECE])}'" for begin in range(0, len(script), PIECE)]
    return words if len(" ".join(words).encode(errors="surrogateescape")) <= MOST else []


def escaped(text: str) -> str:
    """Return text as printf's %b reads it, without special characters."""
    for character in SPECIAL:
        text = text.replace(character, f"\\0{ord(character):03o}")
    return text
