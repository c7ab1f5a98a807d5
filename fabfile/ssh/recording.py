"""Append host keys to a known_hosts file: all of them or none, none twice, and none for a host that has another key."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from fabfile.errors import Failed, Refused
from fabfile.shell import quote
from fabfile.ssh import known_hosts
from fabfile.ssh.hostkeys import Keys
from fabfile.ssh.known_lines import HASHED, KnownKey, index

WAIT = 30
"""Seconds to wait for another run, which holds the lock for a fraction of one."""


def record(file: Path, hosts: Iterable[Keys]) -> None:
    """Append the keys that the file does not have yet.

    Args:
        file: the known_hosts file; if it does not exist, it is created with mode 0600.
        hosts: the hosts with the keys to record.

    Raises:
        Refused: the file cannot be opened, another process has locked it, or it has another key of a host by now.
        Failed: writing failed, for example because the disk is full.
    """
    try:
        with _locked(file) as opened:
            lines = _lines(file, hosts)
            if lines:
                _append(opened, file, lines)
    except OSError as error:
        raise Refused(f"cannot write the host keys to {file}", str(error), hint=f"ls -ld {file}") from error


@contextmanager
def _locked(file: Path) -> Iterator[int]:
    """Open and lock the file, and again if it was replaced in the meantime, as ssh-keygen -R and editors do."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        opened = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                raise Refused(f"cannot write the host keys to {file}", "it is not a regular file")
            _lock(opened, file)
            if file.exists() and os.path.samestat(os.fstat(opened), file.stat()):
                yield opened
                return
        finally:
            os.close(opened)


def _lock(opened: int, file: Path) -> None:
    """Lock the open file, but do not wait forever: anybody who may read the file can hold the lock.

    Raises:
        Refused: another process holds the lock for long.
    """
    end = monotonic() + WAIT
    while True:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if monotonic() > end:
                raise Refused(
                    f"cannot write the host keys to {file}",
                    f"another process has locked it for {WAIT} s",
                    hint=f"see which one has it open: fuser -v {quote(str(file))}",
                ) from error
            sleep(0.05)
        else:
            return


def _lines(file: Path, hosts: Iterable[Keys]) -> str:
    """Return the lines to append.

    Raises:
        Refused: the file, or an earlier entry of `hosts`, has other keys for a host.
    """
    hashed, lines = bool(index(file).hashes), []
    said: dict[str, tuple[KnownKey, ...]] = {}
    for host in hosts:
        if host.name not in said:
            known = known_hosts.find((file,), host.host, host.port)
            said[host.name] = tuple(entry for entry in known.entries if not entry.marker) if known.exact else ()
        before = said[host.name]
        new = [key for key in host.keys if key not in before]
        if before and len(new) == len(host.keys):
            raise _other(file, host.name, before[0], new[0])
        said[host.name] += tuple(new)
        for key in new:
            name = _hashed(host.name) if hashed else host.name
            lines.append(f"{name} {key.kind} {base64.b64encode(key.key).decode()}\n")
    return "".join(lines)


def _other(file: Path, name: str, recorded: KnownKey, new: KnownKey) -> Refused:
    return Refused(
        f"another key of {name} is recorded in {file}",
        f"it has the fingerprint {recorded.fingerprint}, and the new one {new.fingerprint}",
        hint="machines of one address, behind different gateways, need different known_hosts files in hosts.toml",
    )


def _hashed(name: str) -> str:
    """Hash a name as ssh does with `HashKnownHosts yes`."""
    salt = os.urandom(20)
    parts = (salt, hmac.digest(salt, name.encode(), hashlib.sha1))
    return HASHED + "|".join(base64.b64encode(part).decode() for part in parts)


def _append(opened: int, file: Path, lines: str) -> None:
    """Append the lines with one write; if that writes only a part of them, remove the part again."""
    size = os.fstat(opened).st_size
    text = lines.encode("ascii")
    if size and os.pread(opened, 1, size - 1) != b"\n":
        text = b"\n" + text
    try:
        written = os.write(opened, text)
    except OSError as error:
        raise Failed(f"{file} is not written", str(error)) from error
    if written < len(text):
        os.ftruncate(opened, size)
        raise Failed(f"{file} is not written", f"only {written} of {len(text)} bytes found room")
    os.fsync(opened)
