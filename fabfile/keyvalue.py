"""Plain text from a machine: `key value` lines."""

from __future__ import annotations


def lines(text: str) -> dict[str, str]:
    """`key value` lines as a dictionary; a key alone is an empty value."""
    pairs = (line.partition(" ") for line in text.splitlines() if line.strip())
    return {key: value.strip() for key, _, value in pairs}


def settings(text: str) -> dict[str, str]:
    """`KEY=value` lines of a settings file that a shell reads, as a dictionary; comments are left out."""
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {key: value.strip("'") for key, _, value in pairs}
