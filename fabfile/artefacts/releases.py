"""Release sets: artefacts with digests, at their official URLs or under the same file names in a mirror."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from fabfile import paths
from fabfile.artefacts import address, cache_files, catalogue, download
from fabfile.artefacts.catalogue import PARTS, Catalogue
from fabfile.artefacts.source import Git
from fabfile.console import say
from fabfile.errors import Failed, Refused

if TYPE_CHECKING:
    from zipfile import ZipFile

MACHINES = {"amd64": "x86_64", "arm64": "aarch_64"}
"""Our name of an architecture → protoc's."""

MOST_UNPACKED = 1 << 30
"""Limit for the unpacked size of a zip archive in bytes."""


class Artefact(msgspec.Struct, frozen=True):
    """A file to download. It is a `plan.UploadSource`."""

    name: str
    version: str
    url: str
    sha256: str
    file: str
    size: int = 0
    """In bytes; 0: not known."""

    @property
    def label(self) -> str:
        """Name, version and the start of its digest."""
        return f"{self.name}-{self.key}"

    @property
    def key(self) -> str:
        """Version and the start of its digest: the name of its directory below /opt."""
        return f"{self.version}-{self.sha256[:12]}"

    def path(self) -> Path:
        """Download it, or find it in the cache, and return the path of what a machine unpacks; zip becomes tar.

        The cached file is verified by size and digest at each use, and downloaded again if it differs.

        Raises:
            Refused: its name is not a plain file name.
            Failed: it could not be downloaded, is incomplete, or has another digest.
        """
        wanted = cache_files.inside(paths.cache() / "artefacts" / self.sha256, self.file)
        with download.locked(wanted):
            there = wanted.exists()
            if there and not self._is(wanted):
                say(f"{wanted} is damaged: fetching it again")
                there = False
            if not there:
                download.fetch(self.url, wanted, self.sha256, self.size)
            return _as_tar(wanted) if wanted.suffix == ".zip" else wanted

    def _is(self, file: Path) -> bool:
        return self.size in (0, file.stat().st_size) and cache_files.sha256(file) == self.sha256


class Release(msgspec.Struct, frozen=True):
    """A set of versions that belong together, for one architecture."""

    name: str
    arch: str
    containerd: Git
    parts: dict[str, Artefact]
    """Those of `PARTS` that exist for this architecture."""

    @property
    def go(self) -> Artefact:
        """The Go toolchain that builds containerd; like the others, refused if there is none for this architecture."""
        return self._part("go")

    @property
    def protoc(self) -> Artefact:
        """The protocol buffer compiler."""
        return self._part("protoc")

    @property
    def runc(self) -> Artefact:
        """The OCI runtime."""
        return self._part("runc")

    def _part(self, name: str) -> Artefact:
        if name not in self.parts:
            raise Refused(
                f"release {self.name} has no {name} for {self.arch}",
                "releases.toml has no digest for it",
                hint="choose another --release",
            )
        return self.parts[name]


@cache  # a deploy calls it several times per host
def load(name: str, arch: str, mirror: str = "") -> Release:
    """Load a release set.

    Args:
        name: name of the set, such as `2.3`.
        arch: `amd64` or `arm64`.
        mirror: directory or HTTP address with the files, by their names; empty: the official addresses.

    Raises:
        Refused: there is no such set, the mirror is neither a directory nor an address, or a table is not valid.
        Failed: the set is defined by the mirror, which does not respond.
    """
    file = paths.REPOSITORY / "releases.toml"
    raw = catalogue.parse(file.read_text(), str(file))
    sets = raw.get("set", {})
    if name not in sets:
        near = difflib.get_close_matches(name, sets, n=1, cutoff=0.5)
        raise Refused(
            f"no release {name!r}",
            f"known: {', '.join(sets)}",
            hint=f"did you mean {near[0]!r}?" if near else "they are in releases.toml",
        )
    base = base_url(mirror)
    where = str(file)
    if sets[name].get("from_mirror"):
        if not base:
            raise Refused(
                f"the release {name!r} needs a mirror",
                "only a mirror describes what is in it",
                hint="--mirror DIRECTORY or --mirror http://HOST/DIR; the lab makes one: inv lab.up",
            )
        where = f"{base}/releases.toml"
        raw |= catalogue.parse(download.read(where), where)
    return assembled(catalogue.convert(raw, where, name), name, arch, base, where)


def assembled(tables: Catalogue, name: str, arch: str, base: str, where: str) -> Release:
    """Build a release set from a catalogue, each part with its address.

    Args:
        tables: the catalogue.
        name: name of the set, which exists.
        arch: `amd64` or `arm64`.
        base: address of a mirror; empty: the official addresses.
        where: file or address of the catalogue, for errors.

    Raises:
        Refused: a file name or an address is not valid.
    """
    chosen = tables.set[name]
    parts = {}
    for part in PARTS:
        version = getattr(chosen, part)
        sums = getattr(tables, part)[version]
        if arch in sums:
            names = {"version": version, "arch": arch, "machine": MACHINES.get(arch, arch)}
            file = _file_name(catalogue.fill(getattr(tables.file, part), names), f"{where}: file.{part}")
            url = f"{base}/{file}" if base else catalogue.fill(getattr(tables.url, part), names)
            url, described = address.clean(url, f"{where}: url.{part}"), catalogue.described(sums[arch])
            parts[part] = Artefact(part, version, url, described.sha256, file, described.size)
    repository = _file_name(tables.file.containerd, f"{where}: file.containerd")
    url = address.clean(f"{base}/{repository}" if base else tables.url.containerd, f"{where}: url.containerd")
    source = tables.containerd[chosen.containerd]
    git = Git(chosen.containerd, url, source.ref, source.commit, source.mode, source.cgo)
    return Release(name, arch, git, parts)


def _file_name(name: str, where: str) -> str:
    if not cache_files.NAME.fullmatch(name):
        raise Refused(f"{where}: not a usable file name: {name!r:.200}", "it is one name, without a directory")
    return name


def base_url(mirror: str) -> str:
    """Return the address of a mirror given as an address or a directory, without credentials; empty if none is given.

    Raises:
        Refused: it is neither.
    """
    if "://" in mirror:
        return address.clean(mirror.rstrip("/"), "mirror")
    try:
        directory = Path(mirror).expanduser()
    except RuntimeError as error:
        raise Refused(f"mirror: no directory {mirror!r}", str(error)) from error
    if mirror and not directory.is_dir():
        raise Refused(
            f"mirror: no directory {mirror!r}", "a mirror is a directory, or an address such as http://HOST/DIR"
        )
    return directory.resolve().as_uri() if mirror else ""


def _as_tar(archive: Path) -> Path:
    """Convert a zip archive to a tar archive beside it, so that machines need no unzip."""
    import zipfile
    from zlib import error as ZlibError

    wanted = archive.with_suffix(".tar.gz")
    if cache_files.intact(wanted):
        return wanted
    part = wanted.with_name(f".{wanted.name}.part")
    try:
        with zipfile.ZipFile(archive) as source, part.open("wb") as out:
            _convert(source, out)
        cache_files.settle(part, wanted)
        cache_files.record(wanted)
    except (zipfile.BadZipFile, ZlibError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise Failed(
            f"cannot read the archive {archive}", str(error), hint="check that the mirror is the right one"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return wanted


def _convert(source: ZipFile, out: IO[bytes]) -> None:
    import tarfile

    entries = [entry for entry in source.infolist() if not entry.is_dir()]
    size = sum(entry.file_size for entry in entries)
    if size > MOST_UNPACKED:
        raise ValueError(f"it would unpack to {size} bytes, at most {MOST_UNPACKED}")
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for entry in entries:
            if not entry.filename.isprintable() or {"", ".", ".."} & set(entry.filename.split("/")):
                raise ValueError(f"it has a file outside its directory: {entry.filename!r:.200}")
            info = tarfile.TarInfo(entry.filename)
            # Programs are executable, and everything is readable, which some releases of protoc do not state.
            info.size, info.mode = entry.file_size, 0o755 if (entry.external_attr >> 16) & 0o100 else 0o644
            with source.open(entry) as stream:
                tar.addfile(info, stream)
