"""Cached directories that take long to make: made once, completely or not at all, and verified before each use.

Each has a manifest with the sizes of its files and the digests of some. If a file was truncated or emptied, by a full
disk, a power cut or an operator, the directory is made again.
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

from fabfile.artefacts.cache_files import sha256
from fabfile.artefacts.download import locked
from fabfile.console import say
from fabfile.errors import Failed
from fabfile.lab import files
from fabfile.lab.progress import progress
from fabfile.shell import quote

MANIFEST = ".manifest.json"
"""Name of the manifest, which also marks a directory as ours."""

FORMAT = "manifest 1"
"""Part of the digests in names, so that directories from before there were manifests have other names."""

Make = Callable[[Path, Path], None]
"""Fills an empty directory, its first argument; the second is a log file, which is kept after a failure."""


class ManifestEntry(msgspec.Struct, frozen=True):
    """A file of the manifest."""

    size: int
    sha256: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """The content of a cached directory."""

    id: str
    """Identity of this build, by which what depends on it can tell whether it is still the same."""
    files: dict[str, ManifestEntry]


def find(wanted: Path, make: Make, doing: str = "", digests: Sequence[str] = ()) -> float | None:
    """Find a directory in the cache, or make it.

    Args:
        wanted: the directory.
        make: fills it.
        doing: text to show meanwhile; empty: `make` shows something itself.
        digests: patterns for names of files whose content is verified at each use, not only the size.

    Returns:
        The seconds that it took to make; None if it was cached.

    Raises:
        Failed: it could not be made; only the log is left.
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
        # A unique name: the last process of a killed run, which may still be ending, must not write into this
        # directory.
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
                files.sync(part)  # sizes alone would not show what a power cut did to their content
                part.rename(wanted)
        except BaseException:
            files.discard(part)
            raise
        return monotonic() - begin


def identity(directory: Path) -> str:
    """Return the identity of a cached directory; empty if it is gone or unreadable."""
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
            entries[name] = ManifestEntry(file.stat().st_size, sha256(file) if compared else "")
    files.write(part / MANIFEST, msgspec.json.encode(Manifest(uuid.uuid4().hex, entries)))


def _damage(wanted: Path) -> str:
    """What is wrong with a cached directory; empty if nothing is.

    Raises:
        Failed: it is not a directory that we made.
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
