"""The host keys that are known for a host: find them in known_hosts files, and verify the key of the host by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from fabfile.ssh.known_lines import AUTHORITY, REVOKED, Index, KnownKey, entry, index

MANY = 1000
"""Number of lines with hashed names from which on they are not all compared: for each host, that would take 2 ms."""


class Unknown(Exception):
    """The files have no key for the host to compare with; the message tells what they have instead, if anything."""


class Changed(Exception):
    """The files have other keys for the host.

    Args:
        expected: one of those in the files.
        key: the key that the host has proved to have.
    """

    def __init__(self, expected: KnownKey, key: bytes) -> None:
        super().__init__(expected.kind)
        self.expected, self.key = expected, key


class Revoked(Exception):
    """The key is marked as revoked."""


class OtherKind(Exception):
    """The files have no key of this kind for the host, but keys of other kinds, which it should be asked for.

    Args:
        known: all entries for the host.
    """

    def __init__(self, known: HostEntries) -> None:
        super().__init__(*known.kinds)
        self.known = known


class HostEntries(msgspec.Struct, frozen=True):
    """The entries for a host in known_hosts files."""

    entries: tuple[KnownKey, ...]
    exact: bool = True
    """Whether the entries are for the host's port; if not, they can only confirm a key, as with OpenSSH."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the known keys; the host should be asked for one of these."""
        return tuple(dict.fromkeys(each.kind for each in self.entries if not each.marker))

    def verify(self, key: bytes) -> None:
        """Verify a key that the host has proved to have.

        Args:
            key: the key as a blob, without its encoding in Base64.

        Raises:
            Revoked: the key is marked as revoked.
            Changed: other keys are known for the host.
            Unknown: no key is known for the host and port.
        """
        if any(each.marker == REVOKED and each.key == key for each in self.entries):
            raise Revoked
        own = [each for each in self.entries if not each.marker]
        if any(each.key == key for each in own):
            return
        if own and self.exact:
            raise Changed(own[0], key)
        if any(each.marker == AUTHORITY for each in self.entries):
            raise Unknown("it is known by a @cert-authority line only, and host certificates are not supported")
        raise Unknown("")


class Readable(HostEntries, frozen=True, kw_only=True):
    """The entries for a host and port whose names can be read. Those with hashed names are looked up by the host's key.

    Comparing a hashed name takes an HMAC, which for each host and line of a long file takes longer than all else.
    """

    files: tuple[Path, ...]
    host: str
    port: int
    usual: str
    """The kind that most keys with hashed names have."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """See `HostEntries.kinds`; the usual kind if no name can be read."""
        return super().kinds or (self.usual,)

    def verify(self, key: bytes) -> None:
        """Verify a key that the host has proved to have; see `HostEntries.verify`.

        Raises:
            OtherKind: the host has to prove that it has a key of another kind.
        """
        name = name_of(self.host, self.port)
        hashed = _entries(line for file in self.files for line in index(file).hashed_lines(name, key))
        try:
            HostEntries((*self.entries, *hashed)).verify(key)
        except (Changed, Unknown):
            known = find(self.files, self.host, self.port)
            if known.kinds and kind(key) not in known.kinds:
                raise OtherKind(known) from None
            known.verify(key)


def kind(key: bytes) -> str:
    """Return the kind that is named in a key: `ssh-ed25519`."""
    return key[4 : 4 + int.from_bytes(key[:4])].decode("ascii", "replace")


def name_of(host: str, port: int) -> str:
    """Return the name of a host as known_hosts has it: in lower case, `[NAME]:PORT` if the port is not 22."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def place(files: Iterable[Path], host: str, port: int, wanted: KnownKey) -> str:
    """Return where an entry is, as `FILE, line N`; empty: nowhere. It reads the files again, for an error message.

    Args:
        files: known_hosts files.
        host: name or address.
        port: TCP port.
        wanted: the entry to find.
    """
    for file in filter(Path.is_file, files):
        for number, line in enumerate(file.read_text(encoding="latin-1").split("\n"), 1):
            if any(entry(each) == wanted for each in Index(line).lines(name_of(host, port))):
                return f"{file}, line {number}"
    return ""


def find(files: Iterable[Path], host: str, port: int) -> HostEntries:
    """Return all entries for a host.

    Args:
        files: known_hosts files; those that do not exist are skipped.
        host: name or address.
        port: TCP port.

    Raises:
        Refused: a file cannot be read.
    """
    return _find([index(file) for file in files], host, port)


def _find(indexes: Sequence[Index], host: str, port: int) -> HostEntries:
    def entries(name: str) -> tuple[KnownKey, ...]:
        return _entries(line for each in indexes for line in each.lines(name))

    if (exact := entries(name_of(host, port))) or port == 22:
        return HostEntries(exact)
    return HostEntries(entries(host.lower()), exact=False)


def to_verify(files: Iterable[Path], host: str, port: int) -> HostEntries:
    """Return what verifies the key of a host with few comparisons; see `find` for the parameters and errors."""
    files = tuple(files)
    indexes = [index(file) for file in files]
    if sum(each.hashes for each in indexes) < MANY:
        return _find(indexes, host, port)
    name = name_of(host, port)
    readable = _entries(line for each in indexes for line in each.readable_lines(name))
    usual = max(indexes, key=lambda each: each.hashes).kinds.most_common(1)
    return Readable(readable, files=files, host=host, port=port, usual=usual[0][0] if usual else "")


def _entries(lines: Iterable[str]) -> tuple[KnownKey, ...]:
    return tuple(found for line in lines if (found := entry(line)))
