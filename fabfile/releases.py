"""releases.toml → artefacts with a digest, each under its URL or under the same file name in a mirror."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from fabfile import download, paths
from fabfile.download import locked as locked  # the lab's caches lock themselves the same way
from fabfile.errors import Refused
from fabfile.source import Git

MACHINES = {"amd64": "x86_64", "arm64": "aarch_64"}
"""Our names of architectures → protoc's."""

PARTS = ("go", "protoc", "runc")
"""What is downloaded as a file; containerd comes as a commit."""


class Artefact(msgspec.Struct, frozen=True):
    """A file to download. It is a `plan.Source`."""

    name: str
    version: str
    url: str
    sha256: str
    file: str

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

        Raises:
            Failed: it could not be fetched, is not whole, or has another digest.
        """
        wanted = paths.cache() / "artefacts" / self.sha256 / self.file
        with download.locked(wanted):
            if not wanted.exists():
                download.fetch(self.url, wanted, self.sha256)
            return _as_tar(wanted) if wanted.suffix == ".zip" else wanted


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
                "releases.toml knows no digest of one",
                hint="choose another --release",
            )
        return self.parts[name]


Sum = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Sums = dict[str, dict[str, Sum]]
"""Version → architecture → SHA-256 in hex."""


class Set(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[set.NAME]: a version of each part, or the word that a mirror has them."""

    containerd: str = ""
    go: str = ""
    protoc: str = ""
    runc: str = ""
    from_mirror: bool = False


class Commit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[containerd.VERSION]: where in the repository it is, and how it is built."""

    ref: str
    commit: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}$")]
    mode: Literal["gopath", "module"]
    cgo: bool = False


class Places(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[url] and [file]: patterns for each part."""

    containerd: str
    go: str
    protoc: str
    runc: str


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of releases.toml."""

    url: Places
    file: Places
    set: dict[str, Set]
    containerd: dict[str, Commit]
    go: Sums
    protoc: Sums
    runc: Sums


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
    raw = _toml(file.read_text(), str(file))
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
                "only a mirror knows what is in it",
                hint="--mirror DIRECTORY or --mirror http://HOST/DIR; the lab makes one: inv lab.up",
            )
        where = f"{base}/releases.toml"
        raw |= _toml(download.read(where), where)
    return _release(_catalogue(raw, where, name), name, arch, base)


def _toml(text: str, where: str) -> dict[str, Any]:
    import toml

    try:
        return toml.loads(text)
    except (toml.TomlDecodeError, IndexError) as error:  # toml 0.10 lets an IndexError out on some broken files
        raise Refused(f"{where} is not TOML", str(error)) from error


def _catalogue(raw: dict[str, Any], where: str, name: str) -> Catalogue:
    try:
        catalogue = msgspec.convert(raw, Catalogue)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        raise Refused(f"{where}: {place.strip('`').removeprefix('$.') or 'top level'}: {message}") from error
    if name not in catalogue.set:
        raise Refused(f"{where} has no release {name!r}", f"it has: {', '.join(catalogue.set)}")
    for part in ("containerd", *PARTS):
        version, known = getattr(catalogue.set[name], part), getattr(catalogue, part)
        if version not in known:
            raise Refused(f"{where}: set.{name}.{part}: no [{part}.{version!r}]", f"known: {', '.join(known)}")
    return catalogue


def _release(catalogue: Catalogue, name: str, arch: str, base: str) -> Release:
    chosen = catalogue.set[name]
    parts = {}
    for part in PARTS:
        version = getattr(chosen, part)
        sums = getattr(catalogue, part)[version]
        if arch in sums:
            names = {"version": version, "arch": arch, "machine": MACHINES.get(arch, arch)}
            file = getattr(catalogue.file, part).format(**names)
            url = f"{base}/{file}" if base else getattr(catalogue.url, part).format(**names)
            parts[part] = Artefact(part, version, url, sums[arch], file)
    url = f"{base}/{catalogue.file.containerd}" if base else catalogue.url.containerd
    source = catalogue.containerd[chosen.containerd]
    git = Git(chosen.containerd, url, source.ref, source.commit, source.mode, source.cgo)
    return Release(name, arch, git, parts)


def base_url(mirror: str) -> str:
    """The address of a mirror that was given as an address or as a directory; empty for none.

    Raises:
        Refused: it is neither.
    """
    scheme, separator, _ = mirror.partition("://")
    if separator and scheme in ("http", "https", "file"):
        return mirror.rstrip("/")
    directory = Path(mirror).expanduser()
    if mirror and (separator or not directory.is_dir()):
        raise Refused(
            f"mirror: no directory {mirror!r}", "a mirror is a directory, or an address such as http://HOST/DIR"
        )
    return directory.resolve().as_uri() if mirror else ""


def _as_tar(archive: Path) -> Path:
    """The zip archive as a tar archive beside it: a machine need not have unzip."""
    import tarfile
    import zipfile

    wanted = archive.with_suffix(".tar.gz")
    if wanted.exists():
        return wanted
    part = wanted.with_name(f".{wanted.name}.part")
    with zipfile.ZipFile(archive) as source, tarfile.open(part, "w:gz", compresslevel=1) as out:
        for entry in source.infolist():
            if entry.is_dir():
                continue
            info = tarfile.TarInfo(entry.filename)
            # Whether it is a program; everybody may read it (some releases of protoc say otherwise of their files).
            info.size, info.mode = entry.file_size, 0o755 if (entry.external_attr >> 16) & 0o100 else 0o644
            with source.open(entry) as stream:
                out.addfile(info, stream)
    part.rename(wanted)
    return wanted
