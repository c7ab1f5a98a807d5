"""What takes long to make, in the cache: made once, whole or not at all, and looked at before each use.

A directory of the cache has a manifest with the size of each file and the digest of some. A file that was cut short or
emptied (by a full disk, a power cut or a hand) is noticed, and all of it made anew.
"""

from __future__ import annotations

import glob
import os
import uuid
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from time import monotonic

import msgspec

from fabfile.console import say
from fabfile.errors import Failed
from fabfile.kept import sha256
from fabfile.lab import files
from fabfile.lab.progress import progress
from fabfile.releases import locked
from fabfile.target import quote

MANIFEST = ".manifest.json"
"""Also the mark of a directory that is ours to remove."""

FORMAT = "manifest 1"
"""For the digests in names: what was made before there were manifests has another name."""

Make = Callable[[Path, Path], None]
"""Makes the content of an empty directory. The second path is of a log file that stays when it fails."""


class Entry(msgspec.Struct, frozen=True):
    """A file of the manifest."""

    size: int
    sha256: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """What a directory of the cache held when it was made."""

    id: str
    """Of this very making: what is built on it knows by that whether it is still the same."""
    files: dict[str, Entry]


def find(wanted: Path, make: Make, doing: str = "", digests: Sequence[str] = ()) -> float | None:
    """Find a directory in the cache, or make it.

    Args:
        wanted: the directory.
        make: makes it.
        doing: what is shown while it is made; nothing where `make` shows something itself.
        digests: patterns of names in it whose content is compared at each use, not only their size.

    Returns:
        The seconds that it took to make, or None where it was there.

    Raises:
        Failed: it could not be made; nothing is left but the log.
    """
    with locked(wanted):
        if wanted.exists():
            damage = _damage(wanted)
            if not damage:
                return None
            say(f"{wanted.name} in the cache is damaged and is made again: {damage}")
            files.remove(wanted)
        begin, log = monotonic(), wanted.with_name(f".{wanted.name}.log")
        for left in wanted.parent.glob(f".{glob.escape(wanted.name)}.*.part"):
            files.remove(left)
        log.unlink(missing_ok=True)
        # A name of its own: the last process of a killed run, which ends just now, must not write into this one.
        part = wanted.with_name(f".{wanted.name}.{os.getpid()}.part")
        try:
            with files.writing(wanted.parent, "XDG_CACHE_HOME"):
                part.mkdir()
                if doing:
                    with progress(doing):
                        make(part, log)
                else:
                    make(part, log)
                _write_manifest(part, digests)
                part.rename(wanted)
        except BaseException:
            files.discard(part)
            raise
        return monotonic() - begin


def identity(directory: Path) -> str:
    """Which making of a directory this is, or nothing where it is gone or no longer readable."""
    try:
        return _read(directory).id
    except (OSError, msgspec.DecodeError):
        return ""


def _read(directory: Path) -> Manifest:
    return msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)


def _write_manifest(part: Path, digests: Sequence[str]) -> None:
    entries = {}
    for file in sorted(part.rglob("*")):
        if file.is_file() and not file.is_symlink():
            name = str(file.relative_to(part))
            compared = any(fnmatch(name, pattern) for pattern in digests)
            entries[name] = Entry(file.stat().st_size, sha256(file) if compared else "")
    files.write(part / MANIFEST, msgspec.json.encode(Manifest(uuid.uuid4().hex, entries)))


def _damage(wanted: Path) -> str:
    """What is wrong with a directory of the cache, or nothing.

    Raises:
        Failed: it is none that we made.
    """
    try:
        manifest = _read(wanted)
    except FileNotFoundError as error:
        raise Failed(
            f"{wanted} was not made by the lab",
            f"it has no {MANIFEST}",
            hint=f"move it away: mv {quote(str(wanted))} {quote(f'{wanted}.old')}",
        ) from error
    except msgspec.DecodeError as error:
        return f"{MANIFEST}: {error}"
    for name, entry in manifest.files.items():
        file = wanted / name
        if not file.is_file():
            return f"{name} is gone"
        if (size := file.stat().st_size) != entry.size:
            return f"{name} has {size} bytes instead of {entry.size}"
        if entry.sha256 and sha256(file) != entry.sha256:
            return f"{name} has another content"
    return ""
