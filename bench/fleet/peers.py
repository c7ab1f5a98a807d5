"""The other tools, in an environment of their own, as they need other versions than we do."""

from __future__ import annotations

import sys
from pathlib import Path

from fabfile import paths
from fabfile.artefacts.cache_files import sha256
from fabfile.lab import store, tools
from fabfile.paths import REPOSITORY

LOCK = REPOSITORY / "requirements-peers.lock"


def installed() -> Path:
    """Return a directory for PYTHONPATH, in the cache; it is made from the lock file if it does not exist."""
    version = "{}.{}".format(*sys.version_info)
    wanted = paths.cache() / "peers" / f"{version}-{sha256(LOCK)[:12]}"

    def make(part: Path, log: Path) -> None:
        options = ["-qq", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        tools.run(sys.executable, "-m", "pip", "install", *options, "--target", part, "-r", LOCK, log=log)

    store.find(wanted, make, "installing the peers")
    return wanted
