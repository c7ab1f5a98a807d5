"""Text in lines of keys and values, from facts and records."""

from __future__ import annotations


def lines(text: str) -> dict[str, str]:
    """Parse `key value` lines into a dictionary; a key alone has an empty value."""
    pairs = (line.partition(" ") for line in text.splitlines() if line.strip())
    return {key: value.strip() for key, _, value in pairs}


def settings(text: str) -> dict[str, str]:
    """Parse the `KEY=value` lines of a file that a shell reads into a dictionary, without comments."""
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {key: value.strip("'") for key, _, value in pairs}
