"""Known host keys in OpenSSH's format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". A run reads a file again if it changed.

Lines that OpenSSH ignores are ignored here as well.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import threading
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from fabfile.errors import Refused

HASHED = "|1|"
"""Prefix of a hashed name, which can be compared but not read: a salt and the HMAC-SHA1 of the name, in Base64."""

REVOKED, AUTHORITY = "@revoked", "@cert-authority"

_files: dict[Path, tuple[tuple[int, int, int], _Index]] = {}
"""Path → inode, size and modification time in nanoseconds, by which a change is noticed, and the index of the file."""
_lock = threading.Lock()
_searching = threading.Lock()
"""Held by the one thread that compares hashed names."""


class Entry(msgspec.Struct, frozen=True):
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


class Unknown(Exception):
    """The files have no key for the host to compare with; the message tells what they have instead, if anything."""


class Changed(Exception):
    """The files have other keys for the host.

    Args:
        expected: one of those in the files.
        key: the key that the host has proved to have.
    """

    def __init__(self, expected: Entry, key: bytes) -> None:
        super().__init__(expected.kind)
        self.expected, self.key = expected, key


class Revoked(Exception):
    """The key is marked as revoked."""


class _Index:
    """The lines of a known_hosts file, by the names of their hosts."""

    def __init__(self, text: str) -> None:
        self.named: dict[str, list[str]] = {}
        self.hashed: list[tuple[bytes, bytes, str]] = []
        self.patterns: list[tuple[list[str], str]] = []
        for line in text.split("\n"):
            names = _names(line)
            if names.startswith(HASHED):
                self._add_hashed(names, line)
            elif re.search(r"[*?!]", names):
                self.patterns.append((names.lower().split(","), line))
            else:
                for name in filter(None, names.lower().split(",")):
                    self.named.setdefault(name, []).append(line)

    def _add_hashed(self, names: str, line: str) -> None:
        try:
            salt, digest = (base64.b64decode(part, validate=True) for part in names[len(HASHED) :].split("|"))
        except (ValueError, binascii.Error):
            return  # not a valid name; OpenSSH ignores the line as well
        self.hashed.append((salt, digest, line))

    def lines(self, name: str) -> Iterator[str]:
        """Yield the lines that apply to a host.

        Args:
            name: the host as `name_of` returns it.
        """
        yield from self.named.get(name, ())
        yield from self._hashed_lines(name.encode())
        for patterns, line in self.patterns:
            denied = any(fnmatchcase(name, _glob(each[1:])) for each in patterns if each.startswith("!"))
            if not denied and any(fnmatchcase(name, _glob(each)) for each in patterns if not each.startswith("!")):
                yield line

    def _hashed_lines(self, name: bytes) -> list[str]:
        # Python's lock changes hands at each of these short computations: many threads at once take six times as long.
        with _searching:
            return [
                line
                for salt, digest, line in self.hashed
                if hmac.compare_digest(hmac.digest(salt, name, hashlib.sha1), digest)
            ]


def _names(line: str) -> str:
    """Return the names field of a line; empty: it has none."""
    fields = line.split(None, 2)
    place = 1 if line.lstrip().startswith("@") else 0
    return fields[place] if len(fields) > place and not fields[place].startswith("#") else ""


def _glob(pattern: str) -> str:
    """Convert a pattern for fnmatch, which must take brackets, as around a host with a port, literally."""
    return pattern.replace("[", "[[]")


def _entry(line: str) -> Entry | None:
    """Parse a line; None: it is invalid, and OpenSSH ignores it as well."""
    fields = line.split()
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if len(fields) < 3 or marker not in ("", REVOKED, AUTHORITY):
        return None
    try:
        return Entry(fields[1], base64.b64decode(fields[2], validate=True), marker)
    except (ValueError, binascii.Error):
        return None


def _index(file: Path) -> _Index:
    with _lock:
        try:
            found = file.stat()
            state = (found.st_ino, found.st_size, found.st_mtime_ns)
            if file not in _files or _files[file][0] != state:
                # Latin-1 decodes every byte; names and keys are ASCII.
                _files[file] = (state, _Index(file.read_text(encoding="latin-1")))
        except FileNotFoundError:
            return _Index("")
        except OSError as error:
            raise Refused(f"cannot read the host keys in {file}", str(error), hint=f"ls -ld {file}") from error
        return _files[file][1]


class Known(msgspec.Struct, frozen=True):
    """The entries for a host in known_hosts files."""

    entries: tuple[Entry, ...]
    exact: bool = True
    """Whether the entries are for the host's port; if not, they can only confirm a key, as with OpenSSH."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the known keys; the host should be asked for one of these."""
        return tuple(dict.fromkeys(entry.kind for entry in self.entries if not entry.marker))

    def verify(self, key: bytes) -> None:
        """Verify a key that the host has proved to have.

        Args:
            key: the key as a blob, without its encoding in Base64.

        Raises:
            Revoked: the key is marked as revoked.
            Changed: other keys are known for the host.
            Unknown: no key is known for the host and port.
        """
        if any(entry.marker == REVOKED and entry.key == key for entry in self.entries):
            raise Revoked
        own = [entry for entry in self.entries if not entry.marker]
        if any(entry.key == key for entry in own):
            return
        if own and self.exact:
            raise Changed(own[0], key)
        authority = any(entry.marker == AUTHORITY for entry in self.entries)
        raise Unknown("it is known by a @cert-authority line only, and host certificates are not supported" * authority)


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a key, as `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def kind(key: bytes) -> str:
    """Return the kind that is named in a key: `ssh-ed25519`."""
    return key[4 : 4 + int.from_bytes(key[:4])].decode("ascii", "replace")


def name_of(host: str, port: int) -> str:
    """Return the name of a host as known_hosts has it: in lower case, `[NAME]:PORT` if the port is not 22."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def hashes(file: Path) -> bool:
    """Return whether a file has hashed names."""
    return bool(_index(file).hashed)


def place(files: Iterable[Path], host: str, port: int, entry: Entry) -> str:
    """Return where an entry is, as `FILE, line N`; empty: nowhere. It reads the files again, for an error message.

    Args:
        files: known_hosts files.
        host: name or address.
        port: TCP port.
        entry: the entry to find.
    """
    for file in filter(Path.is_file, files):
        for number, line in enumerate(file.read_text(encoding="latin-1").split("\n"), 1):
            if any(_entry(each) == entry for each in _Index(line).lines(name_of(host, port))):
                return f"{file}, line {number}"
    return ""


def find(files: Iterable[Path], host: str, port: int) -> Known:
    """Return the entries for a host.

    Args:
        files: known_hosts files; those that do not exist are skipped.
        host: name or address.
        port: TCP port.

    Raises:
        Refused: a file cannot be read.
    """
    indexes = [_index(file) for file in files]

    def entries(name: str) -> tuple[Entry, ...]:
        lines = (line for index in indexes for line in index.lines(name))
        return tuple(entry for line in lines if (entry := _entry(line)))

    if (exact := entries(name_of(host, port))) or port == 22:
        return Known(exact)
    return Known(entries(host.lower()), exact=False)
