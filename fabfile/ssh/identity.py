"""Check the private key file of a host before it is used, because Paramiko's errors do not name the file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from paramiko import PKey
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import SSHException

from fabfile.once import once

PUBLIC = (b"ssh-", b"ecdsa-", b"sk-")
"""Prefixes of a public key."""


@cache  # the hosts of a fleet have the same
def wrong(file: Path) -> str:
    """Return what is wrong with a private key file; empty: nothing."""
    try:
        with file.open("rb") as stream:
            begin = stream.read(64)
    except FileNotFoundError:
        return "there is no such file"
    except IsADirectoryError:
        return "it is a directory"
    except OSError as error:
        return error.strerror or type(error).__name__
    if begin.startswith(PUBLIC):
        private = file.with_suffix("") if file.suffix == ".pub" else None
        return "it is a public key" + (f"; {private} may be the private one" if private and private.is_file() else "")
    return "" if b"PRIVATE KEY" in begin else "it is not a private key"


@once
def loaded(file: str) -> PKey | None:
    """Return the private key in a file, with its certificate; None: Paramiko's errors about it come with the login.

    Args:
        file: path of the file.
    """
    try:
        return PKey.from_path(file)
    except (OSError, SSHException, UnknownKeyType, TypeError, ValueError):  # TypeError: it has a passphrase
        return None
