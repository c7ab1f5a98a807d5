"""Known host keys as OpenSSH has them: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". A file is read once for a whole run."""

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
"""Begins a name that only can be compared: the salt and the HMAC-SHA1 of the name, in Base64."""

REVOKED, AUTHORITY = "@revoked", "@cert-authority"

_files: dict[Path, tuple[tuple[int, int, int], _Index]] = {}
"""What was read, and by what a change of the file is noticed."""
_lock = threading.Lock()


class Entry(msgspec.Struct, frozen=True):
    """A line that names a host."""

    kind: str
    """Of the key: `ssh-ed25519`."""
    key: bytes
    marker: str = ""
    """REVOKED, AUTHORITY, or nothing."""

    @property
    def fingerprint(self) -> str:
        """Of its key, as ssh-keygen -l prints it."""
        return fingerprint(self.key)


class Unknown(Exception):
    """No line has this key for the host; the message is what there is instead, if anything."""


class Changed(Exception):
    """The host has other keys.

    Args:
        expected: one of them.
        key: the one that it has proved to have.
    """

    def __init__(self, expected: Entry, key: bytes) -> None:
        super().__init__(expected.kind)
        self.expected, self.key = expected, key


class Revoked(Exception):
    """The key is marked as revoked."""


class _Index:
    """The lines of a file, by the names of their hosts."""

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
            return  # no name at all: OpenSSH passes over it, too
        self.hashed.append((salt, digest, line))

    def lines(self, name: str) -> Iterator[str]:
        """The lines that are about a host.

        Args:
            name: in small letters, with its port where that is not 22.
        """
        yield from self.named.get(name, ())
        for salt, digest, line in self.hashed:
            if hmac.compare_digest(hmac.digest(salt, name.encode(), hashlib.sha1), digest):
                yield line
        for patterns, line in self.patterns:
            denied = any(fnmatchcase(name, _glob(each[1:])) for each in patterns if each.startswith("!"))
            if not denied and any(fnmatchcase(name, _glob(each)) for each in patterns if not each.startswith("!")):
                yield line


def _names(line: str) -> str:
    """The names of a line, or nothing where it has none."""
    fields = line.split(None, 2)
    place = 1 if line.lstrip().startswith("@") else 0
    return fields[place] if len(fields) > place and not fields[place].startswith("#") else ""


def _glob(pattern: str) -> str:
    """A pattern in which brackets, as around a host with a port, mean themselves."""
    return pattern.replace("[", "[[]")


def _entry(line: str) -> Entry | None:
    """What a line says, or nothing where it is none: OpenSSH passes over it, too."""
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
                # Latin-1 reads any byte; names and keys are ASCII.
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
    """Whether they name its port; if not, they can only confirm a key, as for OpenSSH."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its keys: one of those is to be asked for."""
        return tuple(dict.fromkeys(entry.kind for entry in self.entries if not entry.marker))

    def verify(self, key: bytes) -> None:
        """Compare it with the key that the host has proved to have.

        Raises:
            Revoked: that must not be used any more.
            Changed: other keys are known.
            Unknown: nothing is known of it.
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
    """Of a key, as ssh-keygen -l prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def kind(key: bytes) -> str:
    """The kind that a key says it is: `ssh-ed25519`."""
    return key[4 : 4 + int.from_bytes(key[:4])].decode("ascii", "replace")


def name_of(host: str, port: int) -> str:
    """How a line names a host."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def hashes(file: Path) -> bool:
    """Whether a file has hashed names."""
    return bool(_index(file).hashed)


def place(files: Iterable[Path], host: str, port: int, entry: Entry) -> str:
    """Where a file says that, as `FILE, line N`; a second look at it, for an error.

    Args:
        files: known_hosts files.
        host: name or address.
        port: TCP port.
        entry: what is said of it.
    """
    for file in filter(Path.is_file, files):
        for number, line in enumerate(file.read_text(encoding="latin-1").split("\n"), 1):
            if any(_entry(each) == entry for each in _Index(line).lines(name_of(host, port))):
                return f"{file}, line {number}"
    return ""


def find(files: Iterable[Path], host: str, port: int) -> Known:
    """What the files say of a host.

    Args:
        files: known_hosts files, those that are there.
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
