"""The one way a file comes to this controller: from a URL, whole, with the digest that it must have, once."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import IO

from fabfile.console import say
from fabfile.errors import Failed
from fabfile.sizes import human

TIMEOUT = 30
"""Seconds without a byte before a download is given up."""

BLOCK = 1 << 20
"""Bytes read at a time."""

HINT = "check the address, or name a mirror that has it: --mirror DIRECTORY or --mirror http://HOST/DIR"


@contextmanager
def locked(wanted: Path) -> Iterator[None]:
    """Within it, no other thread or process makes `wanted`; its directory exists.

    Raises:
        Failed: the directory cannot be made or written.
    """
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        lock = wanted.with_name(f".{wanted.name}.lock").open("w")
    except OSError as error:
        raise Failed("cannot use the cache", str(error), hint="XDG_CACHE_HOME names another directory") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch(url: str, wanted: Path, sha256: str) -> None:
    """Download `url` to `wanted`. The name appears only when the content is whole and has its digest.

    Args:
        url: `http://`, `https://` or `file://`; the usual proxy variables are honoured.
        wanted: where to put it; the caller holds its lock.
        sha256: of the content, in hex.

    Raises:
        Failed: it could not be had, ended early, or has another digest. Nothing of it is kept.
    """
    import hashlib

    start, digest, size = monotonic(), hashlib.sha256(), 0
    part = wanted.with_name(f".{wanted.name}.part")
    try:
        with _open(url) as (stream, length), part.open("wb") as out:
            say(f"downloading {url}" + (f" ({human(length)})" if length else ""))
            while block := stream.read(BLOCK):
                digest.update(block)
                size += len(block)
                out.write(block)
        if length is not None and size != length:
            raise Failed(f"{url} is not whole", f"{size} of {length} bytes arrived", hint="run it again")
        if digest.hexdigest() != sha256:
            raise Failed(
                f"{url} has the wrong digest",
                f"expected {sha256}\ngot      {digest.hexdigest()}",
                hint="it is not kept and not used; is the mirror the right one?",
            )
        part.rename(wanted)
    finally:
        part.unlink(missing_ok=True)
    say(f"downloaded {wanted.name}  {monotonic() - start:.1f} s")


def read(url: str) -> str:
    """The text of a small file.

    Raises:
        Failed: it could not be had, or it is no text.
    """
    with _open(url) as (stream, _):
        content = stream.read()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Failed(f"{url} is not text", str(error), hint=HINT) from error


@contextmanager
def _open(url: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """The stream at `url` and the bytes it announces; what goes wrong while it is read is told as a Failed."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=TIMEOUT) as stream:
            length = stream.headers.get("Content-Length")
            yield stream, int(length) if length else None
    except HTTPError as error:
        raise Failed(f"cannot download {url}", f"HTTP {error.code} {error.reason}", hint=HINT) from error
    except (HTTPException, OSError) as error:  # URLError is an OSError
        raise Failed(f"cannot download {url}", str(getattr(error, "reason", error)), hint=HINT) from error
