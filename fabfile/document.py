"""TOML that somebody else wrote: the reading of it ends soon, in bounded memory, and with one kind of error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabfile.errors import Refused

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

MOST = 128 << 10
"""Characters: ten times what `containerd config default` prints. tomlkit's time grows with the square of the tables."""

DOTS = 1000
"""In a line: tomllib's time to read a key grows with the square of the number of its parts."""

OWN_LINES = "write the table in lines of its own: [NAME], and a key on each line"


def checked(text: str) -> str:
    """The text itself, where a parser of TOML is done with it in seconds.

    Raises:
        ValueError: it is larger than that.
    """
    if len(text) > MOST:
        raise ValueError(f"{len(text)} characters of TOML, at most {MOST}")
    if any(line.count(".") > DOTS for line in text.splitlines()):
        raise ValueError(f"a line of TOML with more than {DOTS} dots")
    return text


def loads(text: str) -> dict[str, Any]:
    """The tables of a document.

    Raises:
        ValueError: it is not TOML, or too large to be read.
    """
    import tomllib

    try:
        return tomllib.loads(checked(text))
    except RecursionError as error:
        raise ValueError("tables or arrays within others without end") from error


def editable(text: str, where: str) -> TOMLDocument:
    """A document of which single keys can be changed; the rest of it stays as it is written.

    Args:
        text: all of it.
        where: its file, for the error.

    Raises:
        Refused: it is not TOML, or too large to be read.
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
    """The table `key` of another one, made where it is not there.

    Args:
        parent: the other one, of an editable document.
        key: its name.
        where: the document's file, for the error.
        super_table: a new one holds tables only, and gets no line of its own.

    Raises:
        Refused: there is something else of that name, or `parent` stands in one line, which cannot hold a table.
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
    """The text of a document that was edited.

    Raises:
        Refused: read again, that text would say something else: a key that stands behind a table belongs to it.
    """
    text = document.as_string()
    try:
        same = loads(text) == document.unwrap()
    except ValueError:
        same = False
    if not same:
        raise Refused(f"{where} is written in a way in which no key can be set safely", "", hint=OWN_LINES)
    return text
