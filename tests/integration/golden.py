"""The machine on which everything was deployed once, cached under a digest of everything that it depends on."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from fabfile import paths
from fabfile.lab import files, kinds, machines, store, tools
from fabfile.lab.image import Image
from fabfile.lab.kinds.kind import Kind
from tests.integration.machine import Machine, keep_logs

DEPENDS = (
    "fabfile", "templates", "releases.toml", "requirements.lock", "fabric.yaml", "programs.py",
    "tests/integration/golden.py", "tests/integration/machine.py", "tests/integration/forked.py",
)  # fmt: skip
"""What determines the result of a deploy, and what is recorded about it here."""


KEPT = 8
"""Number of cached machines: concurrent runs may start from them."""


class Seen(msgspec.Struct, frozen=True):
    """Observations during the deploy."""

    fresh: str
    """The state before anything was done."""
    dry: str
    dry_json: str
    after_dry: str
    """The state after the dry runs."""
    deploy: str
    after_deploy: str


class Golden(msgspec.Struct, frozen=True):
    """Its disk, and the observations."""

    disk: Image
    seen: Seen


def find(suite: str, name: str, mirror: str) -> Golden:
    """Find the machine of a suite, kind and mirror (see `machines.up`) in the cache, or make it."""
    kind, image = kinds.choose(suite, name)
    directory = paths.cache() / "golden" / _digest(kind, image, mirror)
    store.find(directory, lambda part, log: _make(kind, image, part, mirror))
    os.utime(directory)
    _prune(directory.parent)
    seen = msgspec.json.decode((directory / "seen.json").read_bytes(), type=Seen)
    return Golden(Image(suite, image.directory, directory / "root"), seen)


def _prune(directory: Path) -> None:
    """Remove those that were not used for longest; every change of the code makes another one of 256 MiB."""
    there = [each for each in directory.iterdir() if not each.name.startswith(".")]
    with suppress(FileNotFoundError):  # the other processes of a test run remove the same ones
        for old in sorted(there, key=lambda each: each.stat().st_mtime, reverse=True)[KEPT:]:
            files.remove(old)


def _digest(kind: Kind, image: Image, mirror: str) -> str:
    # The directory as well, because a qcow2 disk names its backing file by an absolute path.
    parts = [kind.name, image.id, str(image.directory), *machines.offer(mirror).values(), store.FORMAT]
    digest = hashlib.sha256("\0".join(parts).encode())
    for name in DEPENDS:
        place = paths.REPOSITORY / name
        found = sorted([place] if place.is_file() else place.rglob("*"))
        assert found, f"there is no {name}"
        for file in found:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(paths.REPOSITORY)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _make(kind: Kind, image: Image, part: Path, mirror: str) -> None:
    """Deploy on an empty machine, and shut it down again."""
    (first,) = machines.up(1, image.suite, kind=kind.name, mirror=mirror)
    machine = Machine(first)
    try:
        fresh = machine.state()
        dry = machine.fab("--dry", "deploy", code=3)
        dry_json = machine.fab("--dry", "deploy", "--json", code=3)
        after_dry = machine.state()
        deploy = machine.fab("deploy")
        after_deploy = machine.state()
        machine.power_off()
    except BaseException:
        try:
            keep_logs(machine, "golden")
        finally:
            machines.kill(first)
        raise
    # `mv` keeps the file sparse also between file systems, where Python would write each hole as zeros.
    tools.run("mv", first.directory / kind.root_overlay(first), part / "root")
    machines.remove(first.name)
    seen = Seen(fresh, dry, dry_json, after_dry, deploy, after_deploy)
    (part / "seen.json").write_bytes(msgspec.json.encode(seen))
