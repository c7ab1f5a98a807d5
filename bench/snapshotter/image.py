"""The image that is pulled: three layers of programs and sources, from Debian's packages in the lab's mirror."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from fabfile.lab import registry

NAME = "bench/go"
LINKS = ("sh", "sleep", "true")
TREES = ("go/src/", "go/pkg/tool/")
"""Directories of Debian's Go: many small files, and few large ones. Each is a layer of 80 MB."""

FILE = "/go/pkg/tool/linux_amd64/compile"
"""Path of the largest file in the image: 16 MiB."""


def push(lab: Path, mirror: Path) -> None:
    """Push the image to the lab's registry."""
    trees = [_tree(next(mirror.glob("go*.tar.gz")), prefix) for prefix in TREES]
    registry.push(lab, NAME, [registry.layer(mirror, "bin/busybox", LINKS), *trees], ["/bin/sh"])


def _tree(archive: Path, prefix: str) -> bytes:
    """Return a tar archive of what is below `prefix` in `archive`."""
    raw = io.BytesIO()
    with tarfile.open(archive, "r|gz") as source, tarfile.open(fileobj=raw, mode="w") as out:
        for member in source:
            if member.name.startswith(prefix):
                out.addfile(member, source.extractfile(member) if member.isreg() else None)
    return raw.getvalue()
