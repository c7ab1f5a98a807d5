"""Download files to this controller: completely, with the required digest, and once."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from fabfile import activity, paths, private
from fabfile.artefacts import cache_files, web
from fabfile.artefacts.catalogue import LARGEST
from fabfile.console import say
from fabfile.errors import Failed
from fabfile.sizes import human

UNUSED = "it was discarded; check that the mirror is the right one"

MOST_TEXT = 64 << 10
"""Limit for the size of a text in bytes: ten times our own releases.toml."""


@contextmanager
def locked(wanted: Path) -> Iterator[None]:
    """Lock `wanted`, usually in the cache, against other threads and processes, and create its directory.

    Raises:
        Refused: others may write to the cache.
        Failed: the directory cannot be created or written to, or its disk is full.
    """
    try:
        if wanted.is_relative_to(paths.cache()):
            private.make_cache()
        wanted.parent.mkdir(parents=True, exist_ok=True)
        lock = wanted.with_name(f".{wanted.name}.lock").open("w")
    except OSError as error:
        hint = "name another directory for it: export XDG_CACHE_HOME=/another/directory"
        raise Failed(f"cannot use the cache {wanted.parent}", str(error), hint=hint) from error
    with lock, cache_files.room(wanted.parent):
        with activity.doing(lambda: f"waiting for {wanted.name}, which is being made"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch(url: str, wanted: Path, sha256: str, size: int = 0) -> None:
    """Download a file. Its name appears only after its size and digest have been verified.

    Args:
        url: `http://`, `https://` or `file://`; the usual proxy variables are respected.
        wanted: path of the file; the caller holds its lock.
        sha256: its digest, in hexadecimal.
        size: its size in bytes; 0: unknown, so that a general limit applies.

    Raises:
        Failed: it could not be downloaded completely, or has another size or digest. Nothing of it is kept.
    """
    import hashlib

    start, digest = monotonic(), hashlib.sha256()
    transfer = activity.Transfer(f"downloading {wanted.name}", size)
    part = wanted.with_name(f".{wanted.name}.part")

    def begin(length: int | None) -> None:
        if length is not None:
            _check_size(url, length, size)
            transfer.size = length
        say(f"downloading {url}" + (f" ({human(length)})" if length else ""))

    try:
        with part.open("wb") as out, activity.doing(transfer.__str__):
            for block in web.blocks(url, size or LARGEST, begin):
                digest.update(block)
                out.write(block)
                transfer.came += len(block)
        _check_size(url, transfer.came, size)
        if digest.hexdigest() != sha256:
            raise Failed(
                f"{url} has the wrong digest",
                f"expected {sha256}\ngot      {digest.hexdigest()}",
                hint=UNUSED,
            )
        cache_files.settle(part, wanted)
    finally:
        part.unlink(missing_ok=True)
    say(f"downloaded {wanted.name}  {monotonic() - start:.1f} s")


def _check_size(url: str, size: int, wanted: int) -> None:
    if wanted and size != wanted:
        raise Failed(f"{url} has the wrong size", f"expected {wanted} bytes\ngot      {size}", hint=UNUSED)


def read(url: str) -> str:
    """Return the content of a small text file.

    Raises:
        Failed: it could not be downloaded, is not text, or is larger than `MOST_TEXT`.
    """
    content = b"".join(web.blocks(url, MOST_TEXT))
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Failed(f"{url} is not text", str(error), hint=web.HINT) from error
