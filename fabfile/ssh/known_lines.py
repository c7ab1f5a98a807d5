"""The lines of known_hosts files, in OpenSSH's format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".

Lines that OpenSSH ignores are ignored here as well. A run reads a file again if it changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import itertools
import re
import threading
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import msgspec

from fabfile.errors import Refused

HASHED = "|1|"
"""Prefix of a hashed name, which can be compared but not read: a salt and the HMAC-SHA1 of the name, in Base64."""

REVOKED, AUTHORITY = "@revoked", "@cert-authority"

_PATTERN = re.compile(r"[*?!]")
_PLAIN = re.compile(r"[a-z0-9.:_\[\],-]+")

_files: dict[Path, tuple[tuple[int, int, int], Index]] = {}
"""Path → inode, size and modification time in nanoseconds, by which a change is noticed, and the index of the file."""
_lock = threading.Lock()
_searching = threading.Lock()
"""Held by the one thread that compares hashed names."""


class KnownKey(msgspec.Struct, frozen=True):
    """The key and marker of a line."""

    kind: str
    """Kind of the key: `ssh-ed25519`."""
    key: bytes
    marker: str = ""
    """`REVOKED`, `AUTHORITY`, or empty."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the key, as `ssh-keygen -l` prints it."""
        return fingerprint(self.key)


class Index:
    """The lines of a known_hosts file: by the names of their hosts, or by their keys if the names are hashed."""

    def __init__(self, text: str) -> None:
        self.named: dict[str, list[str]] = {}
        self.hashed: dict[str, list[str]] = {}
        """Key in Base64 → the lines that have it, with hashed names and without a marker."""
        self.kinds = Counter[str]()
        """Kind of key → the number of these lines."""
        self.marked: list[str] = []
        """The lines with hashed names and a marker."""
        self.patterns: list[tuple[list[str], str]] = []
        for line in text.split("\n"):
            names = line.partition(" ")[0]
            if not _PLAIN.fullmatch(names):  # most lines are, and need no more
                names = _names(line)
                if names.startswith(HASHED):
                    self._add_hashed(line)
                    continue
                names = names.lower()
                if _PATTERN.search(names):
                    self.patterns.append((names.split(","), line))
                    continue
            for name in names.split(","):
                if name:
                    self.named.setdefault(name, []).append(line)

    def _add_hashed(self, line: str) -> None:
        first, *more = line.split(None, 3)
        if first.startswith("@"):
            self.marked.append(line)
        elif len(more) > 1:
            self.hashed.setdefault(more[1], []).append(line)
            self.kinds[more[0]] += 1

    @property
    def hashes(self) -> int:
        """The number of lines with hashed names."""
        return self.kinds.total() + len(self.marked)

    def lines(self, name: str) -> Iterator[str]:
        """Yield the lines that apply to a host.

        Args:
            name: the host as `name_of` returns it.
        """
        yield from self.readable_lines(name)
        # Python's lock changes hands at each of these short computations: many threads at once take six times as long.
        with _searching:
            yield from [line for pair, line in self._pairs if _is_hash(pair, name)]

    def readable_lines(self, name: str) -> Iterator[str]:
        """Yield the lines that apply to a host, without those whose names are hashed."""
        yield from self.named.get(name, ())
        for patterns, line in self.patterns:
            denied = any(fnmatchcase(name, _glob(each[1:])) for each in patterns if each.startswith("!"))
            if not denied and any(fnmatchcase(name, _glob(each)) for each in patterns if not each.startswith("!")):
                yield line

    def hashed_lines(self, name: str, key: bytes) -> Iterator[str]:
        """Yield the lines with hashed names that apply to a host and have a certain key or a marker."""
        for line in (*self.hashed.get(base64.b64encode(key).decode(), ()), *self.marked):
            if (pair := _pair(line)) and _is_hash(pair, name):
                yield line

    @cached_property
    def _pairs(self) -> list[tuple[tuple[bytes, bytes], str]]:
        """What `_pair` returns for each line with hashed names, and the line."""
        lines = (*itertools.chain.from_iterable(self.hashed.values()), *self.marked)
        return [(pair, line) for line in lines if (pair := _pair(line))]


def _pair(line: str) -> tuple[bytes, bytes] | None:
    """Return salt and HMAC of a hashed name; None: it is invalid, and OpenSSH ignores the line as well."""
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in _names(line)[len(HASHED) :].split("|"))
    except (ValueError, binascii.Error):
        return None
    return salt, digest


def _is_hash(pair: tuple[bytes, bytes], name: str) -> bool:
    salt, digest = pair
    return hmac.compare_digest(hmac.digest(salt, name.encode(), hashlib.sha1), digest)


def _names(line: str) -> str:
    """Return the names field of a line; empty: it has none."""
    fields = line.split(None, 2)
    place = 1 if line.lstrip().startswith("@") else 0
    return fields[place] if len(fields) > place and not fields[place].startswith("#") else ""


def _glob(pattern: str) -> str:
    """Convert a pattern for fnmatch, which must take brackets, as around a host with a port, literally."""
    return pattern.replace("[", "[[]")


def entry(line: str) -> KnownKey | None:
    """Parse a line; None: it is invalid, and OpenSSH ignores it as well."""
    fields = line.split()
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if len(fields) < 3 or marker not in ("", REVOKED, AUTHORITY):
        return None
    try:
        return KnownKey(fields[1], base64.b64decode(fields[2], validate=True), marker)
    except (ValueError, binascii.Error):
        return None


def index(file: Path) -> Index:
    """Return the index of a file; it is empty if the file does not exist.

    Raises:
        Refused: the file cannot be read.
    """
    with _lock:
        try:
            found = file.stat()
            state = (found.st_ino, found.st_size, found.st_mtime_ns)
            if file not in _files or _files[file][0] != state:
                # Latin-1 decodes every byte; names and keys are ASCII.
                _files[file] = (state, Index(file.read_text(encoding="latin-1")))
        except FileNotFoundError:
            return Index("")
        except OSError as error:
            raise Refused(f"cannot read the host keys in {file}", str(error), hint=f"ls -ld {file}") from error
        return _files[file][1]


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a key, as `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
