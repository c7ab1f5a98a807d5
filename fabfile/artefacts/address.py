"""Addresses of files and repositories: their grammar, redirects, and credentials.

A password is removed from an address as soon as that is read: what is passed on, printed or given to other programs has
none.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from ipaddress import IPv6Address
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fabfile.errors import Refused

GRAMMAR = re.compile(
    r"(?:(?P<scheme>https?)://(?:(?P<user>[^\s/?#]*)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])"
    r"(?P<port>:[0-9]{1,5})?|file://(?=/))(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?)",
    re.ASCII,
)

STRONGER = {"http": ("http", "https"), "https": ("https",), "file": ("file",)}
"""Protocol of an address → protocols that it may redirect to."""

_credentials: dict[str, str] = {}
"""Address → Authorization header for everything below it."""


def clean(address: str, what: str) -> str:
    """Return an address without its credentials, which are remembered for everything below it.

    Args:
        address: `http://`, `https://` or `file://`.
        what: name of the address, for the error.

    Raises:
        Refused: it is no such address, or contains blanks, control characters, `..`, a query or a fragment.
    """
    parts = GRAMMAR.fullmatch(address)
    path = unquote(parts["path"]) if parts else ""
    if not parts or not _is_host(parts["host"]) or not path.isprintable() or ".." in path.split("/"):
        # In an invalid address nobody knows which part is the password.
        shown = "" if "@" in address else f": {address!r:.200}"
        raise Refused(
            f"{what}: not a usable address{shown}",
            "http://HOST/DIR, https://HOST/DIR or file:///DIR; special characters as %XX, no query",
        )
    if not parts["user"]:
        return address if parts["user"] is None else address.replace("@", "", 1)
    plain = f"{parts['scheme']}://{parts['host']}{parts['port'] or ''}{parts['path']}"
    user, _, password = parts["user"].partition(":")
    _credentials[plain.rstrip("/")] = _basic(unquote(user), unquote(password))
    return plain


def _is_host(host: str | None) -> bool:
    """Return whether what is in brackets, if anything is, is an IPv6 address: urlsplit raises an error otherwise."""
    if host and host.startswith("["):
        try:
            IPv6Address(host.strip("[]"))
        except ValueError:
            return False
    return True


def authorization(address: str, *, redirected: bool = False) -> str:
    """Return the Authorization header for an address, from the address itself or from netrc; empty if there is none.

    Args:
        address: the address, without credentials.
        redirected: whether a server chose it. Then netrc, which names only hosts, is read for `https` alone: anybody on
            the way can have any server of plain `http` choose any host, and read what is sent there.

    Raises:
        Refused: the netrc file is damaged, or others may read the password in it.
    """
    scheme, host = urlsplit(address).scheme, urlsplit(address).hostname
    if scheme not in ("http", "https") or not host:
        return ""
    above = [known for known in _credentials if f"{address}/".startswith(f"{known}/")]
    if above:
        return _credentials[max(above, key=len)]
    return "" if redirected and scheme == "http" else _netrc(host)


def may_lead(address: str, to: str) -> bool:
    """Return whether a redirect is allowed: to the same or a stronger protocol."""
    return urlsplit(to).scheme in STRONGER.get(urlsplit(address).scheme, ())


def same_server(one: str, another: str) -> bool:
    """Return whether two addresses have the same protocol, host and port, and so share credentials."""
    first, second = urlsplit(one), urlsplit(another)
    return (first.scheme, first.netloc.lower()) == (second.scheme, second.netloc.lower())


def file_path(address: str) -> Path:
    """Return the path of a `file://` address."""
    return Path(os.fsdecode(_bytes(urlsplit(address).path)))


def _bytes(path: str) -> bytes:
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(path)


def _netrc(host: str) -> str:
    from netrc import NetrcParseError, netrc

    file = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        entry = netrc(file).hosts.get(host)
    except FileNotFoundError:
        return ""
    except NetrcParseError as error:  # its message may contain the password
        raise Refused(f"{file}, line {error.lineno}: cannot be read", "see netrc(5)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read {file}", type(error).__name__) from error
    if entry is None:
        return ""
    if file.stat().st_mode & 0o077:
        raise Refused(f"others may read the password of {host} in {file}", hint=f"chmod 600 {file}")
    return _basic(entry[0] or entry[1] or "", entry[2] or "")


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
