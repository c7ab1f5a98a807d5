"""Lines of a TOML file in which its tables and keys begin, for messages that name them."""

from __future__ import annotations

import re
from typing import Any


def begins(text: str) -> list[tuple[int, tuple[str, ...]]]:
    """Return the number of each line in which a table or a key begins, and the names that lead to it.

    Lines are parsed one by one, so within a list or a string of several lines nothing is found, or too much.
    """
    import tomllib

    found: list[tuple[int, tuple[str, ...]]] = []
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        header = re.fullmatch(r"\s*\[\[?([^\]]+)\]\]?\s*(?:#.*)?", line)
        key = re.match(r"\s*([A-Za-z0-9_\"'.\s/:-]+?)\s*=", line)
        try:
            if header:
                table = _way(tomllib.loads(f"{header[1]} = 0"))
                found.append((number, table))
            elif key:
                found.append((number, (*table, *_way(tomllib.loads(f"{key[1]} = 0")))))
        except (ValueError, RecursionError):
            continue  # the middle of a list or of a string
    return found


def find(lines: list[tuple[int, tuple[str, ...]]], place: tuple[str, ...]) -> int:
    """Return the number of the last line in which something begins, or else of one that has to do with it; 0: none.

    Args:
        lines: what `begins` returned.
        place: names of the tables and of the key.
    """
    exact = [number for number, way in lines if way == place]
    near = [number for number, way in lines if place[: len(way)] == way or way[: len(place)] == place]
    return max(exact or near or [0])


def _way(document: dict[str, Any]) -> tuple[str, ...]:
    """The names that lead to the only value.

    Raises:
        ValueError: it is not the only one, or there is none, as of a line in a string of several lines.
    """
    way = []
    while isinstance(document, dict):
        ((name, document),) = document.items()
        way.append(name)
    return tuple(way)
