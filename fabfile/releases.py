"""releases.toml → artefacts with a digest, and their one way here: URL or mirror → verified → cached by digest."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from fabfile import paths
from fabfile.console import say
from fabfile.errors import Failed, Refused

MACHINES = {"amd64": "x86_64", "arm64": "aarch_64"}
"""Our names of architectures → protoc's."""

TIMEOUT = 30
"""Seconds without a byte before a download is given up."""


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
        with locked(wanted):
            if not wanted.exists():
                _download(self.url, wanted, self.sha256)
            return _as_tar(wanted) if wanted.suffix == ".zip" else wanted


class Git(msgspec.Struct, frozen=True):
    """containerd's source at one commit. It is a `plan.Source`: a tar archive of it."""

    version: str
    url: str
    ref: str
    commit: str
    mode: Literal["gopath", "module"]

    @property
    def label(self) -> str:
        """Version and commit."""
        return f"containerd-source-{self.version}-{self.commit[:12]}"

    def path(self) -> Path:
        """Fetch the commit, or find it in the cache, and return a tar archive of exactly its tree.

        Raises:
            Failed: git is missing, the repository does not answer, or it has no such commit.
        """
        wanted = paths.cache() / "sources" / f"{self.commit}.tar"
        with locked(wanted):
            if not wanted.exists():
                _archive(self, wanted)
        return wanted


class Release(msgspec.Struct, frozen=True):
    """A set of versions that go together, on one architecture."""

    name: str
    arch: str
    go: Artefact
    protoc: Artefact
    runc: Artefact
    containerd: Git


def load(name: str, arch: str, mirror: str = "") -> Release:
    """A release set.

    Args:
        name: of the set, such as `2.3`.
        arch: `amd64` or `arm64`.
        mirror: a directory or HTTP address that has the files, by their names; empty for the official addresses.

    Raises:
        Refused: no such set; no artefact for this architecture; a mirror that is not there.
    """
    import toml

    data = toml.loads((paths.REPOSITORY / "releases.toml").read_text())
    sets = data["set"]
    if name not in sets:
        raise Refused(f"no release {name!r}", f"known: {', '.join(sets)}", hint="they are in releases.toml")
    base = _base(mirror)
    if sets[name].get("from_mirror"):
        if not base:
            raise Refused(
                f"the release {name!r} needs a mirror",
                "only a mirror has it",
                hint="--mirror DIRECTORY, or: inv lab.up",
            )
        data |= toml.loads(_read(f"{base}/releases.toml"))
        sets = data["set"]
    parts = {part: _artefact(data, part, sets[name][part], arch, base) for part in ("go", "protoc", "runc")}
    version = sets[name]["containerd"]
    url = f"{base}/{data['file']['containerd']}" if base else data["url"]["containerd"]
    return Release(name, arch, containerd=Git(version, url, **data["containerd"][version]), **parts)


def _base(mirror: str) -> str:
    if not mirror or "://" in mirror:
        return mirror.rstrip("/")
    directory = Path(mirror).expanduser()
    if not directory.is_dir():
        raise Refused(
            f"mirror: no directory {mirror!r}", "a mirror is a directory, or an address such as http://HOST/DIR"
        )
    return directory.resolve().as_uri()


def _artefact(data: dict[str, Any], part: str, version: str, arch: str, base: str) -> Artefact:
    sums = data[part][version]
    if arch not in sums:
        raise Refused(
            f"no {part} {version} for {arch}", f"there is one for: {', '.join(sums)}", hint="choose another --release"
        )
    names = {"version": version, "arch": arch, "machine": MACHINES.get(arch, arch)}
    file = data["file"][part].format(**names)
    url = f"{base}/{file}" if base else data["url"][part].format(**names)
    return Artefact(part, version, url, sums[arch], file)


@contextmanager
def locked(wanted: Path) -> Iterator[None]:
    """Within it, no other thread or process makes `wanted`; its directory exists."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with wanted.with_name(f".{wanted.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _open(url: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """The stream at `url` and the bytes it announces."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    hint = "check the address, or name a mirror that has it: --mirror"
    try:
        with urlopen(url, timeout=TIMEOUT) as stream:
            length = stream.headers.get("Content-Length")
            yield stream, int(length) if length else None
    except HTTPError as error:
        raise Failed(f"cannot download {url}", f"HTTP {error.code} {error.reason}", hint=hint) from error
    except (URLError, HTTPException, OSError) as error:
        raise Failed(f"cannot download {url}", str(getattr(error, "reason", error)), hint=hint) from error


def _read(url: str) -> str:
    with _open(url) as (stream, _):
        return stream.read().decode()


def _download(url: str, wanted: Path, sha256: str) -> None:
    import hashlib

    say(f"downloading {url}")
    digest, size = hashlib.sha256(), 0
    part = wanted.with_name(f".{wanted.name}.part")
    try:
        with _open(url) as (stream, length), part.open("wb") as out:
            while block := stream.read(1 << 20):
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


def _as_tar(archive: Path) -> Path:
    """The zip archive as a tar archive beside it, with its modes: a machine need not have unzip."""
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
            info.size, info.mode = entry.file_size, (entry.external_attr >> 16) & 0o777 or 0o644
            with source.open(entry) as stream:
                out.addfile(info, stream)
    part.rename(wanted)
    return wanted


def _archive(git: Git, wanted: Path) -> None:
    import subprocess
    import tempfile

    if not shutil.which("git"):
        raise Failed("git is missing here", "it fetches containerd's source", hint="apt-get install git")
    say(f"fetching containerd {git.version} from {git.url}")
    with tempfile.TemporaryDirectory(dir=wanted.parent) as directory:

        def run(*args: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["git", "-C", directory, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL
            )

        run("init", "-q", "--bare")
        # One commit where the server allows to ask for it, else the ref with its history.
        fetched = run("fetch", "-q", "--depth=1", git.url, git.commit)
        if fetched.returncode:
            fetched = run("fetch", "-q", git.url, git.ref)
        if fetched.returncode or run("cat-file", "-e", f"{git.commit}^{{commit}}").returncode:
            raise Failed(
                f"cannot fetch containerd {git.version} from {git.url}",
                f"{fetched.stderr}\nwanted: commit {git.commit} of {git.ref}",
                hint="check the address, or name a mirror that has it: --mirror",
            )
        part = Path(directory) / "source.tar"
        done = run("archive", "-o", str(part), git.commit)
        if done.returncode:
            raise Failed("git archive failed", done.stderr)
        part.rename(wanted)
