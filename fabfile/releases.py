"""releases.toml → artefacts with a digest, each under its URL or under the same file name in a mirror."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from fabfile import address, catalogue, download, kept, paths
from fabfile.catalogue import PARTS, Catalogue
from fabfile.console import say
from fabfile.download import locked as locked  # the lab's caches lock themselves the same way
from fabfile.errors import Failed, Refused
from fabfile.source import Git

if TYPE_CHECKING:
    from zipfile import ZipFile

MACHINES = {"amd64": "x86_64", "arm64": "aarch_64"}
"""Our names of architectures → protoc's."""

MOST_UNPACKED = 1 << 30
"""Bytes that a zip archive may hold."""


class Artefact(msgspec.Struct, frozen=True):
    """A file to download. It is a `plan.Source`."""

    name: str
    version: str
    url: str
    sha256: str
    file: str
    size: int = 0
    """Bytes; 0 where the catalogue does not say it."""

    @property
    def label(self) -> str:
        """Name, version and the start of its digest."""
        return f"{self.name}-{self.key}"

    @property
    def key(self) -> str:
        """Version and the start of its digest: the name of its directory under /opt."""
        return f"{self.version}-{self.sha256[:12]}"

    def path(self) -> Path:
        """Fetch it, or find it in the cache, and return what a machine unpacks (a zip as a tar archive).

        What the cache has is compared with size and digest at each use, and fetched again where it is something else.

        Raises:
            Refused: its name is no plain file name.
            Failed: it could not be fetched, is not whole, or has another digest.
        """
        wanted = kept.inside(paths.cache() / "artefacts" / self.sha256, self.file)
        with download.locked(wanted):
            there = wanted.exists()
            if there and not self._is(wanted):
                say(f"{wanted} is damaged: fetching it again")
                there = False
            if not there:
                download.fetch(self.url, wanted, self.sha256, self.size)
            return _as_tar(wanted) if wanted.suffix == ".zip" else wanted

    def _is(self, file: Path) -> bool:
        return self.size in (0, file.stat().st_size) and kept.sha256(file) == self.sha256


class Release(msgspec.Struct, frozen=True):
    """A set of versions that go together, on one architecture."""

    name: str
    arch: str
    containerd: Git
    parts: dict[str, Artefact]
    """Those of `PARTS` that exist for this architecture."""

    @property
    def go(self) -> Artefact:
        """The toolchain that builds it. Refused where there is none for this architecture; so the others."""
        return self._part("go")

    @property
    def protoc(self) -> Artefact:
        """The compiler of protocol buffers."""
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


@cache  # a deploy asks several times for every host
def load(name: str, arch: str, mirror: str = "") -> Release:
    """A release set.

    Args:
        name: of the set, such as `2.3`.
        arch: `amd64` or `arm64`.
        mirror: a directory or HTTP address that has the files, by their names; empty for the official addresses.

    Raises:
        Refused: no such set; a mirror that is no directory and no address; a table with an unknown key, a wrong
            type, or a version that is nowhere described.
        Failed: the mirror has to say what it holds, and does not answer.
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
    """The release `name` of a catalogue, each part under its address.

    Args:
        tables: the catalogue.
        name: of the set, which is in it.
        arch: `amd64` or `arm64`.
        base: the address of a mirror; empty for the official ones.
        where: the catalogue's file or address, for errors.

    Raises:
        Refused: a file name or an address that cannot be one.
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
            url, of = address.clean(url, f"{where}: url.{part}"), catalogue.described(sums[arch])
            parts[part] = Artefact(part, version, url, of.sha256, file, of.size)
    repository = _file_name(tables.file.containerd, f"{where}: file.containerd")
    url = address.clean(f"{base}/{repository}" if base else tables.url.containerd, f"{where}: url.containerd")
    source = tables.containerd[chosen.containerd]
    git = Git(chosen.containerd, url, source.ref, source.commit, source.mode, source.cgo)
    return Release(name, arch, git, parts)


def _file_name(name: str, where: str) -> str:
    if not kept.NAME.fullmatch(name):
        raise Refused(f"{where}: not a usable file name: {name!r:.200}", "it is one name, without a directory")
    return name


def base_url(mirror: str) -> str:
    """The address of a mirror that was given as an address or as a directory, without credentials; empty for none.

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
    """The zip archive as a tar archive beside it: a machine need not have unzip."""
    import zipfile
    from zlib import error as ZlibError

    wanted = archive.with_suffix(".tar.gz")
    if kept.intact(wanted):
        return wanted
    part = wanted.with_name(f".{wanted.name}.part")
    try:
        with zipfile.ZipFile(archive) as source, part.open("wb") as out:
            _convert(source, out)
        kept.settle(part, wanted)
        kept.record(wanted)
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
            # Whether it is a program; everybody may read it (some releases of protoc say otherwise of their files).
            info.size, info.mode = entry.file_size, 0o755 if (entry.external_attr >> 16) & 0o100 else 0o644
            with source.open(entry) as stream:
                tar.addfile(info, stream)
