"""What is pulled: three layers of programs and sources, from Debian's own packages by way of the lab's mirror."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from fabfile.lab import registry

NAME = "bench/go"
LINKS = ("sh", "sleep", "true")
TREES = ("go/src/", "go/pkg/tool/")
"""Of Debian's Go: many small files, and few large ones. Each is a layer of 80 MB."""

FILE = "/go/pkg/tool/linux_amd64/compile"
"""The largest file of the image: 16 MiB."""


def push(lab: Path, mirror: Path) -> None:
    """Put the image into the lab's registry."""
    trees = [_tree(next(mirror.glob("go*.tar.gz")), prefix) for prefix in TREES]
    registry.push(lab, NAME, [registry.layer(mirror, "bin/busybox", LINKS), *trees], ["/bin/sh"])


def _tree(archive: Path, prefix: str) -> bytes:
    """A tar archive of what in `archive` lies below `prefix`."""
    raw = io.BytesIO()
    with tarfile.open(archive, "r|gz") as source, tarfile.open(fileobj=raw, mode="w") as out:
        for member in source:
            if member.name.startswith(prefix):
                out.addfile(member, source.extractfile(member) if member.isreg() else None)
    return raw.getvalue()
