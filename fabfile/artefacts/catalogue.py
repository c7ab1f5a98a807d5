"""releases.toml, ours or a mirror's: its grammar, which is checked when it is read, and its limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from fabfile import untrusted_toml
from fabfile.errors import Refused

PARTS = ("go", "protoc", "runc")
"""What is downloaded as a file; containerd is fetched as a commit."""

MOST = 64 << 10
"""Limit for the characters of the file."""

LARGEST = 1 << 30
"""Limit for the size of a downloaded file in bytes: several times that of a Go toolchain."""

LONGEST = 1000
"""Limit for the characters of a line: the time for parsing a dotted key grows with the square of its parts."""

_VERSION = r"(?!.*\.\.)[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}"
_REF = r"refs/(heads|tags)/(?!.*(\.\.|//|/\.|\.lock(/|\Z)|[./]\Z))[0-9A-Za-z][0-9A-Za-z._+/-]{0,199}"

# `$` would also match before a trailing line feed.
Version = Annotated[str, msgspec.Meta(pattern=rf"\A{_VERSION}\Z")]
Chosen = Annotated[str, msgspec.Meta(pattern=rf"\A({_VERSION})?\Z")]
Arch = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9_]{1,16}\Z")]
Sum = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Id = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{40}\Z")]
Ref = Annotated[str, msgspec.Meta(pattern=rf"\A{_REF}\Z")]


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file to download: its SHA-256 in hexadecimal, and its size in bytes; 0 if not known."""

    sha256: Sum
    size: Annotated[int, msgspec.Meta(ge=0, le=LARGEST)] = 0


Files = dict[Version, dict[Arch, Sum | File]]
"""Version → architecture → file, or only its digest if its size is not known."""


class Set(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[set.NAME]: a version of each part, or that a mirror states them."""

    containerd: Chosen = ""
    go: Chosen = ""
    protoc: Chosen = ""
    runc: Chosen = ""
    from_mirror: bool = False


class Commit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[containerd.VERSION]: a commit in the repository, and how it is built."""

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
    """The whole of releases.toml."""

    url: Places
    file: Places
    set: dict[str, Set]
    containerd: dict[Version, Commit]
    go: Files
    protoc: Files
    runc: Files


def parse(text: str, where: str) -> dict[str, Any]:
    """Parse a releases.toml into tables.

    Args:
        text: its content.
        where: its file or address, for the error.

    Raises:
        Refused: it is not TOML, or exceeds the limits.
    """
    if len(text) > MOST or any(len(line) > LONGEST for line in text.splitlines()):
        raise Refused(f"{where} is too large", f"at most {MOST} characters, {LONGEST} of them in a line")
    try:
        return untrusted_toml.loads(text)
    except ValueError as error:  # TOMLDecodeError is one, and so is the error for a number with too many digits
        raise Refused(f"{where} is not TOML", f"{error!s:.500}") from error


def convert(raw: dict[str, Any], where: str, name: str) -> Catalogue:
    """Convert tables to a catalogue that has the release set `name` and all versions in it.

    Args:
        raw: the tables.
        where: their file or address, for the error.
        name: name of the release set.

    Raises:
        Refused: a key is unknown, a value is not valid, or the release set or one of its versions is missing.
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
    """Return a file of a catalogue, also if only its digest is known."""
    return File(file) if isinstance(file, str) else file


def fill(pattern: str, names: Mapping[str, str]) -> str:
    """Fill in the names in braces of a pattern; nothing else in it is special.

    Args:
        pattern: for example `go{version}.linux-{arch}.tar.gz`.
        names: name → value.
    """
    known = "|".join(map(re.escape, names))
    return re.sub(rf"\{{({known})\}}", lambda found: names[found[1]], pattern)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(f"{name:.64}" for name in names[:20]) + (", …" if len(names) > 20 else "")
