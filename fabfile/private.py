"""Directories on the controller in which only their user may create, replace and remove files."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from fabfile import paths
from fabfile.errors import Refused
from fabfile.shell import quote


def check(directory: Path, why: str, hint: str) -> None:
    """Refuse a directory in which another user could replace a file that we read, write to or remove.

    Args:
        directory: the directory, or a link to it.
        why: what such a user could do, for the error.
        hint: how to use another directory.

    Raises:
        Refused: it, or a link to it, is another user's, or others may write to it.
    """
    found = directory.stat()
    link = directory.lstat().st_uid or found.st_uid  # a link that belongs to root does no harm
    foreign = {link, found.st_uid} - {os.geteuid()}
    if foreign:
        what = f"{directory} belongs to user {min(foreign)}"
    elif found.st_mode & 0o022:
        what, hint = f"others may write to {directory}", f"chmod go-w {quote(str(directory))}"
    else:
        return
    raise Refused(what, why, hint=hint)


def make_cache() -> None:
    """Create the cache, which only its user may enter, or check that it is such a directory.

    Builds in it are installed on hosts, and proved only by a digest in a file beside them. Whoever can open one of its
    locks could hold it.

    Raises:
        Refused: see `check`.
        OSError: it cannot be created.
    """
    cache = paths.cache()
    cache.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        cache.mkdir(0o700)
    check(
        cache,
        "a user who may write to the cache chooses what is installed on the hosts",
        "name another directory for it: export XDG_CACHE_HOME=/another/directory",
    )
    if cache.stat().st_mode & 0o077:  # made by an earlier version
        cache.chmod(0o700)
