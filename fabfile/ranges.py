"""Ranges of host names in ClusterShell's notation: `web[01-64]`, `web[1-9/2,20]`, `rack[1-4]n[01-16]`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fabfile.console import shown
from fabfile.errors import Refused

MOST = 20_000
"""Limit for the hosts that a range may name."""

NUMBER = re.compile(r"([^.]*?)([0-9]+)([^0-9.]*(?:\..*)?)")
"""A host name, split at the last number in its first label: at `07` in web07.rack1.example.com."""

LONG = 400
"""Limit for the characters of a range that `folded` returns."""

LONGEST = 4096
"""Limit for the characters of a range that `expand` reads: int() refuses numbers of more than 4300 digits."""

LAST_NUMBER = re.compile(r"(.*?)([0-9]+)(\D*)")


def words(text: str) -> list[str]:
    """Split a list at its commas, except those within brackets, which belong to a range."""
    return [word.strip() for word in re.split(r",(?![^\[]*\])", text) if word.strip()]


def is_range(word: str) -> bool:
    """Return whether a word has a range of numbers in brackets; brackets around an IPv6 address are not a range."""
    return bool(re.search(r"\[[0-9][0-9,/-]*\]", word))


def expand(word: str, where: str) -> list[str]:
    """Expand a range into names; return any other word as it is.

    Args:
        word: a range such as `web[01-64]`, or another word.
        where: prefix of an error, such as the option.

    Raises:
        Refused: the range is invalid, or has too many names.
    """
    if not is_range(word):
        return [word]
    if len(word) > LONGEST:
        raise Refused(f"{where}: {shown(word)} is too long", f"at most {LONGEST} characters")
    count = 1
    for part in re.findall(r"\[([0-9,/-]+)\]", word):
        spans = re.findall(r"([0-9]+)(?:-([0-9]+))?", part)
        count *= sum(max(int(last or first) - int(first), 0) + 1 for first, last in spans) or 1
    if count > MOST:
        raise Refused(f"{where}: {shown(word)} has too many names", f"at most {MOST}")
    if wrong := re.search(r"[^A-Za-z0-9._,/\[\]-]", word):
        raise Refused(f"{where}: {shown(word)} has {wrong[0]!r} beside a range", "letters, digits, dots, hyphens")
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException  # slow to import, and seldom needed

    try:
        return list(NodeSet(word, resolver=RESOLVER_NOGROUP))
    except NodeSetException as error:
        raise Refused(f"{where}: {shown(word)} is not a range", str(error), hint="such as web[01-64]") from error


def folded(names: Iterable[str]) -> list[str]:
    """Return the same names, as ranges where they differ only in one number: the opposite of `expand`."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name in dict.fromkeys(names):
        found = (LAST_NUMBER if re.fullmatch(r"[0-9.]+", name) else NUMBER).fullmatch(name)
        key = (found[1], found[3]) if found else (name, "\n")  # which no other name has
        alike.setdefault(key, []).append(name)
    return [word for (before, after), some in alike.items() for word in _range(before, after, some)]


def _range(before: str, after: str, names: list[str]) -> list[str]:
    """Return names that differ only between `before` and `after` as a range, or as several if it exceeds `LONG`."""
    if len(names) < 2:
        return names
    from ClusterShell.RangeSet import RangeSet  # as above

    numbers = RangeSet.fromlist(name[len(before) : len(name) - len(after)] for name in names)
    word = f"{before}[{numbers}]{after}"
    if len(word) > LONG:
        half = len(names) // 2
        return _range(before, after, names[:half]) + _range(before, after, names[half:])
    return [word] if sorted(expand(word, "folded")) == sorted(names) else names
