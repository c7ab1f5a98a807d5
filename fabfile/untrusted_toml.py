"""TOML that others wrote: reading it ends soon, in bounded memory, and with one kind of error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabfile.errors import Refused

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

MOST = 128 << 10
"""Limit for characters: ten times `containerd config default`; tomlkit's time is quadratic in the tables."""

DOTS = 1000
"""Limit for dots in a line; tomllib's time for a key is quadratic in the number of its parts."""

OWN_LINES = "write the table in lines of its own: [NAME], and a key on each line"


def checked(text: str) -> str:
    """Return the text, if a TOML parser can read it within seconds.

    Raises:
        ValueError: it exceeds the limits.
    """
    if len(text) > MOST:
        raise ValueError(f"{len(text)} characters of TOML, at most {MOST}")
    if any(line.count(".") > DOTS for line in text.splitlines()):
        raise ValueError(f"a line of TOML with more than {DOTS} dots")
    return text


def loads(text: str) -> dict[str, Any]:
    """Parse a document into tables.

    Raises:
        ValueError: it is not TOML, or exceeds the limits.
    """
    import tomllib

    try:
        return tomllib.loads(checked(text))
    except RecursionError as error:
        raise ValueError("tables or arrays are nested without end") from error


def editable(text: str, where: str) -> TOMLDocument:
    """Parse a document so that single keys can be changed; everything else keeps its form.

    Args:
        text: its content.
        where: its file, for the error.

    Raises:
        Refused: it is not TOML, or exceeds the limits.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        found = tomlkit.parse(checked(text))
        found.unwrap()  # some mistakes are noticed only here
    except (TOMLKitError, ValueError, RecursionError) as error:
        raise Refused(f"{where} is not TOML", f"{error!s:.500}", hint="fix it, or move it away") from error
    return found


def table(parent: Any, key: str, where: str, *, super_table: bool = False) -> Any:
    """Return a table within another one; it is created if it does not exist.

    Args:
        parent: the other table, of an editable document.
        key: name of the table.
        where: file of the document, for the error.
        super_table: a new table contains only tables, and gets no header.

    Raises:
        Refused: the key is not a table, or `parent` is an inline table, which cannot contain one.
    """
    import tomlkit
    from tomlkit.items import InlineTable

    if key not in parent:
        if isinstance(parent, InlineTable):
            raise Refused(f"{where}: a table in one line cannot get {key!r}", parent.as_string(), hint=OWN_LINES)
        parent[key] = tomlkit.table(is_super_table=super_table)
    if not isinstance(parent[key], dict):
        raise Refused(f"{where}: {key}: expected a table", f"it is {parent[key]!r:.200}", hint=OWN_LINES)
    return parent[key]


def written(document: TOMLDocument, where: str) -> str:
    """Return the text of an edited document.

    Raises:
        Refused: when read again, the text would mean something else, as a key after a table belongs to that table.
    """
    text = document.as_string()
    try:
        same = loads(text) == document.unwrap()
    except ValueError:
        same = False
    if not same:
        raise Refused(f"{where} is written in a way in which keys cannot be set safely", "", hint=OWN_LINES)
    return text
