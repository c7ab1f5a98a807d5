"""releases.toml as it is written, ours or a mirror's: its grammar, checked where it is read and within bounds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from fabfile import document
from fabfile.errors import Refused

PARTS = ("go", "protoc", "runc")
"""What is downloaded as a file; containerd comes as a commit."""

MOST = 64 << 10
"""Characters of a table."""

LARGEST = 1 << 30
"""Bytes of a file that is downloaded: several times a Go toolchain."""

LONGEST = 1000
"""Characters of a line: the time to read a key of many parts grows with the square of their number."""

_VERSION = r"(?!.*\.\.)[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}"
_REF = r"refs/(heads|tags)/(?!.*(\.\.|//|/\.|\.lock(/|\Z)|[./]\Z))[0-9A-Za-z][0-9A-Za-z._+/-]{0,199}"

# `$` would also match before a line feed at the end.
Version = Annotated[str, msgspec.Meta(pattern=rf"\A{_VERSION}\Z")]
Chosen = Annotated[str, msgspec.Meta(pattern=rf"\A({_VERSION})?\Z")]
Arch = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9_]{1,16}\Z")]
Sum = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Id = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{40}\Z")]
Ref = Annotated[str, msgspec.Meta(pattern=rf"\A{_REF}\Z")]


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that is downloaded: its SHA-256 in hex, and its bytes; 0 where nobody wrote them down."""

    sha256: Sum
    size: Annotated[int, msgspec.Meta(ge=0, le=LARGEST)] = 0


Files = dict[Version, dict[Arch, Sum | File]]
"""Version → architecture → the file, or its digest alone where nobody wrote its size down."""


class Set(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[set.NAME]: a version of each part, or the word that a mirror has them."""

    containerd: Chosen = ""
    go: Chosen = ""
    protoc: Chosen = ""
    runc: Chosen = ""
    from_mirror: bool = False


class Commit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[containerd.VERSION]: where in the repository it is, and how it is built."""

    ref: Ref
    commit: Id
    mode: Literal["gopath", "module"]
    cgo: bool = False


class Places(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[url] and [file]: patterns for each part."""

    containerd: str
    go: str
    protoc: str
    runc: str


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of releases.toml."""

    url: Places
    file: Places
    set: dict[str, Set]
    containerd: dict[Version, Commit]
    go: Files
    protoc: Files
    runc: Files


def parse(text: str, where: str) -> dict[str, Any]:
    """The tables of a releases.toml.

    Args:
        text: all of it.
        where: the file or address, for the error.

    Raises:
        Refused: it is not TOML, or larger or deeper than one of these can be.
    """
    if len(text) > MOST or any(len(line) > LONGEST for line in text.splitlines()):
        raise Refused(f"{where} is too large", f"at most {MOST} characters, {LONGEST} of them in a line")
    try:
        return document.loads(text)
    except ValueError as error:  # TOMLDecodeError is one; a number of too many digits another
        raise Refused(f"{where} is not TOML", f"{error!s:.500}") from error


def convert(raw: dict[str, Any], where: str, name: str) -> Catalogue:
    """The tables as a catalogue that has the release `name` and all that it names.

    Args:
        raw: the tables.
        where: the file or address, for the error.
        name: of the release set.

    Raises:
        Refused: an unknown key, a wrong type, a version, ref or digest that is none, or nothing of that name.
    """
    try:
        catalogue = msgspec.convert(raw, Catalogue)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        key = place.replace("`", "").replace("$.", "") or "top level"
        raise Refused(f"{where}: {key}: {message}") from error
    if name not in catalogue.set:
        raise Refused(f"{where} has no release {name!r}", f"it has: {_some(catalogue.set)}")
    for part in ("containerd", *PARTS):
        version, known = getattr(catalogue.set[name], part), getattr(catalogue, part)
        if version not in known:
            raise Refused(f"{where}: set.{name}.{part}: no [{part}.{version!r}]", f"known: {_some(known)}")
    return catalogue


def described(file: str | File) -> File:
    """A file of a catalogue, also of one that has its digest alone."""
    return File(file) if isinstance(file, str) else file


def fill(pattern: str, names: Mapping[str, str]) -> str:
    """`pattern` with the names in braces filled in. Nothing else in it has a meaning: what is left is for a grammar.

    Args:
        pattern: such as `go{version}.linux-{arch}.tar.gz`.
        names: name → what is put there.
    """
    known = "|".join(map(re.escape, names))
    return re.sub(rf"\{{({known})\}}", lambda found: names[found[1]], pattern)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(f"{name:.64}" for name in names[:20]) + (", …" if len(names) > 20 else "")
