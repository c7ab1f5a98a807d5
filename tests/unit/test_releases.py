"""releases.toml as it is, mistakes in one, and the way of a file into the cache, from a mirror directory."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toml

from fabfile import kept, paths, releases
from fabfile.build import Build, libc_version
from fabfile.errors import Failed, Refused
from fabfile.releases import Artefact

REAL = toml.loads((paths.REPOSITORY / "releases.toml").read_text())
SOURCE = {"ref": "refs/tags/v1.6.20", "commit": "a" * 40, "mode": "gopath"}
FILES = REAL["file"]
OWN = [name for name, content in REAL["set"].items() if not content.get("from_mirror")]


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Every test reads for itself."""
    releases.load.cache_clear()
    yield
    releases.load.cache_clear()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def mirror_with(directory: Path, **changes: Any) -> str:
    """A mirror directory that has a `lab` release, described with `changes`; its files are the word of their part."""
    tables = {
        "set": {"lab": {"go": "1.19.8", "protoc": "3.21.12", "runc": "1.1.5", "containerd": "1.6.20"}},
        "go": {"1.19.8": {"amd64": sha256(b"go")}},
        "protoc": {"3.21.12": {"amd64": sha256(b"protoc")}},
        "runc": {"1.1.5": {"amd64": sha256(b"runc")}},
        "containerd": {"1.6.20": SOURCE},
    }
    directory.mkdir(exist_ok=True)
    (directory / "releases.toml").write_text(toml.dumps(tables | changes))
    (directory / "runc-1.1.5.amd64").write_bytes(b"runc")
    return str(directory)


def artefact(url: str, content: bytes, file: str = "runc-1.amd64", size: int = 0) -> Artefact:
    return Artefact("runc", "1", url, sha256(content), file, size)


@pytest.mark.parametrize("name", OWN)
def test_every_set_is_complete_on_amd64_at_the_official_addresses(name: str) -> None:
    release = releases.load(name, "amd64")
    for part in (release.go, release.protoc, release.runc):
        assert part.url.startswith("https://")
        assert part.version in part.url and part.version in part.file
        assert "{" not in part.url + part.file
    assert release.containerd.url == "https://github.com/containerd/containerd.git"
    assert release.containerd.commit == REAL["containerd"][REAL["set"][name]["containerd"]]["commit"]


def test_the_recipe_of_2020_is_kept_to_the_letter() -> None:
    release = releases.load("2020-04", "amd64")
    assert release.go.url == "https://dl.google.com/go/go1.13.9.linux-amd64.tar.gz"
    base = "https://github.com/protocolbuffers/protobuf/releases/download"
    assert release.protoc.url == f"{base}/v3.11.4/protoc-3.11.4-linux-x86_64.zip"
    assert release.runc.url == "https://github.com/opencontainers/runc/releases/download/v1.0.0-rc10/runc.amd64"
    assert (release.containerd.mode, release.containerd.cgo) == ("gopath", True)


def test_arm64_has_its_own_names_and_lacks_only_the_runc_that_never_was() -> None:
    release = releases.load("2020-04", "arm64")
    assert release.go.url.endswith("go1.13.9.linux-arm64.tar.gz")
    assert release.protoc.url.endswith("-linux-aarch_64.zip")
    with pytest.raises(Refused, match="2020-04 has no runc for arm64"):
        _ = release.runc


def test_a_mirror_has_the_same_file_names() -> None:
    release = releases.load("2.3", "amd64", "http://mirror.example/files/")
    assert release.go.url == "http://mirror.example/files/go1.26.5.linux-amd64.tar.gz"
    assert release.runc.url == "http://mirror.example/files/runc-1.4.3.amd64"
    assert release.containerd.url == "http://mirror.example/files/containerd.git"
    assert release.runc.sha256 == releases.load("2.3", "amd64").runc.sha256


def test_a_mirror_describes_the_release_that_only_it_has(tmp_path: Path) -> None:
    release = releases.load("lab", "amd64", mirror_with(tmp_path / "a mirror"))
    assert release.runc.label == f"runc-1.1.5-{sha256(b'runc')[:12]}"
    assert release.runc.path().read_bytes() == b"runc"
    assert release.containerd.url == f"{(tmp_path / 'a mirror').as_uri()}/containerd.git"


@pytest.mark.parametrize(
    ("name", "mirror", "message"),
    [
        ("2.33", "", r"no release '2\.33'(.|\n)*known: 2020-04, 2\.3,(.|\n)*did you mean '2\.3'"),
        ("lab", "", "'lab' needs a mirror"),
        ("2.3", "/nowhere", "no directory '/nowhere'"),
        ("2.3", "ftp://mirror.example", "mirror: not a usable address: 'ftp://mirror.example'"),
    ],
)
def test_a_wrong_name_or_mirror_is_refused(name: str, mirror: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        releases.load(name, "amd64", mirror)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runk": {}}, "unknown field `runk`"),
        ({"go": {"1.19.8": {"amd64": "abc"}}}, r"go\[\.\.\.\]\[\.\.\.\]: Expected `str` matching regex"),
        ({"go": {"1.19.8": {"amd64": 1}}}, "got `int`"),
        ({"go": {"1.19.8": {"amd64": {"sha256": "a" * 64, "size": -1}}}}, "Expected `int` >= 0"),
        ({"go": {"1.19.8": {"amd64": {"sha256": "a" * 64, "size": 1 << 40}}}}, "Expected `int` <= 1073741824"),
        ({"go": {"1.19.8": {"amd64": {"sha256": "a" * 64, "size": "4"}}}}, "Expected `int`, got `str`"),
        ({"go": {"1.19.8": {"amd64": {"size": 4}}}}, "missing required field `sha256`"),
        ({"go": {"1.2": {}}}, r"set\.lab\.go: no \[go\.'1\.19\.8'\]\n  known: 1\.2"),
        ({"set": {"other": {}}}, "has no release 'lab'"),
        ({"set": {"lab": {"go": "1", "gO": "2"}}}, "unknown field `gO`"),
        ({"containerd": {"1.6.20": SOURCE | {"mode": "make"}}}, "Invalid enum value 'make'"),
        ({"containerd": {"1.6.20": SOURCE | {"ref": "--upload-pack=touch x;false"}}}, "regex"),
        ({"containerd": {"1.6.20": SOURCE | {"ref": "refs/tags/../../x"}}}, "regex"),
        ({"containerd": {"1.6.20": SOURCE | {"ref": "refs/heads/a:refs/heads/b"}}}, "regex"),
        ({"containerd": {"1.6.20": SOURCE | {"commit": "a" * 40 + "\n"}}}, "regex"),
        ({"set": {"lab": {"runc": "1.0;id>&2;exit${IFS}9;:"}}}, r"set\[\.\.\.\]\.runc: Expected `str` matching regex"),
        ({"runc": {"1.0;id>&2": {"amd64": "a" * 64}}}, "regex"),
        ({"runc": {"../1": {"amd64": "a" * 64}}}, "regex"),
        ({"file": FILES | {"runc": "../../../../x/{version}.sh"}}, r"file\.runc: not a usable file name"),
        ({"file": FILES | {"runc": "/tmp/{version}.sh"}}, r"file\.runc: not a usable file name"),
        ({"file": FILES | {"runc": "{version:>9999999999}"}}, r"file\.runc: not a usable file name"),
        ({"file": FILES | {"runc": "{version.__class__}"}}, r"file\.runc: not a usable file name"),
        ({"file": FILES | {"runc": "{version}\x1b[2J"}}, r"file\.runc: not a usable file name"),
        ({"file": FILES | {"containerd": "../containerd.git"}}, r"file\.containerd: not a usable file name"),
    ],
)
def test_a_mistake_in_the_table_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        releases.load("lab", "amd64", mirror_with(tmp_path, **changes))


def test_a_table_that_is_not_toml_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "releases.toml").write_text("[go\n")
    with pytest.raises(Refused, match=r"releases\.toml is not TOML"):
        releases.load("lab", "amd64", str(tmp_path))


def test_a_mirror_directory_without_the_table_or_the_file_fails(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"cannot download file://.*/releases\.toml(.|\n)*--mirror"):
        releases.load("lab", "amd64", str(tmp_path))
    with pytest.raises(Failed, match=r"cannot download file://.*/runc-1\.4\.3\.amd64(.|\n)*No such file"):
        releases.load("2.3", "amd64", str(tmp_path)).runc.path()


def test_a_file_is_fetched_once_and_kept_by_its_digest(tmp_path: Path) -> None:
    origin = tmp_path / "runc"
    origin.write_bytes(b"good")
    wanted = artefact(origin.as_uri(), b"good")
    path = wanted.path()
    assert path == paths.cache() / "artefacts" / sha256(b"good") / "runc-1.amd64"
    origin.unlink()
    assert wanted.path().read_bytes() == b"good"


@pytest.mark.parametrize("sent", [b"", b"goo", b"good and more"])
def test_a_file_of_another_size_is_not_kept(tmp_path: Path, sent: bytes) -> None:
    origin = tmp_path / "runc"
    origin.write_bytes(sent)
    wanted = artefact(origin.as_uri(), sent, size=4)  # whatever its digest is
    with pytest.raises(Failed, match=r"wrong size|too large") as caught:
        wanted.path()
    assert "4 bytes" in caught.value.details or "at most 4" in caught.value.details
    assert [path.name for path in (paths.cache() / "artefacts").rglob("*runc*")] == [".runc-1.amd64.lock"]


def test_the_catalogue_says_the_size_beside_the_digest_or_the_digest_alone(tmp_path: Path) -> None:
    both = {"sha256": sha256(b"runc"), "size": 4}
    release = releases.load("lab", "amd64", mirror_with(tmp_path, runc={"1.1.5": {"amd64": both}}))
    assert (release.runc.size, release.go.size) == (4, 0)
    assert release.runc.path().read_bytes() == b"runc"
    ours = releases.load("2.3", "amd64")
    assert ours.go.size == REAL["go"]["1.26.5"]["amd64"]["size"]


@pytest.mark.parametrize("damaged", [b"", b"evil"])
def test_what_is_damaged_in_the_cache_is_fetched_again(tmp_path: Path, damaged: bytes) -> None:
    origin = tmp_path / "runc"
    origin.write_bytes(b"good")
    wanted = artefact(origin.as_uri(), b"good")
    wanted.path().write_bytes(damaged)
    assert wanted.path().read_bytes() == b"good"
    wanted.path().write_bytes(damaged)
    origin.unlink()
    with pytest.raises(Failed, match="cannot download"):
        wanted.path()


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", ".hidden", "a/b", "a\n", "a\x1b", "", "a..b"])
def test_a_file_outside_its_directory_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="not a usable file name"):
        artefact("file:///nowhere", b"", name).path()
    assert not paths.cache().exists()


def test_a_wrong_digest_fails_with_both_and_keeps_nothing(tmp_path: Path) -> None:
    origin = tmp_path / "runc"
    origin.write_bytes(b"evil")
    wanted = artefact(origin.as_uri(), b"good")
    with pytest.raises(Failed) as caught:
        wanted.path()
    assert sha256(b"good") in caught.value.details and sha256(b"evil") in caught.value.details
    assert [path.name for path in (paths.cache() / "artefacts").rglob("*runc*")] == [".runc-1.amd64.lock"]


def test_a_full_disk_is_told_with_its_directory_and_how_to_name_another(tmp_path: Path) -> None:
    origin, directory = tmp_path / "runc", paths.cache() / "artefacts" / sha256(b"good")
    origin.write_bytes(b"good")
    directory.mkdir(parents=True)
    (directory / ".runc-1.amd64.part").symlink_to("/dev/full")
    with pytest.raises(Failed) as caught:
        artefact(origin.as_uri(), b"good").path()
    assert caught.value.what == f"the disk is full: {directory}"
    assert "export XDG_CACHE_HOME=" in caught.value.hint


def test_a_program_that_found_the_disk_full_is_told_so_too(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=f"the disk is full: {tmp_path}"), kept.room(tmp_path), kept.room(tmp_path):
        raise Failed("unpacking failed", "tar: x: Cannot write: No space left on device")


def test_a_cache_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(Failed, match=r"cannot use the cache(.|\n)*XDG_CACHE_HOME"):
        artefact("file:///nowhere", b"").path()


def test_a_zip_archive_comes_as_tar_with_its_programs_executable_and_all_readable(tmp_path: Path) -> None:
    origin = tmp_path / "protoc.zip"
    with zipfile.ZipFile(origin, "w") as archive:
        for name, mode, text in (("bin/protoc", 0o750, "program"), ("include/google/a.proto", 0o640, "proto")):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, text)
        archive.writestr("include/", "")
    path = artefact(origin.as_uri(), origin.read_bytes(), "protoc.zip").path()
    with tarfile.open(path) as archive:
        found = {member.name: (member.mode, member.size) for member in archive}
        content = archive.extractfile("include/google/a.proto")
        assert content and content.read() == b"proto"
    assert found == {"bin/protoc": (0o755, 7), "include/google/a.proto": (0o644, 5)}


def zipped(tmp_path: Path, name: str = "bin/protoc", content: bytes = b"program") -> Artefact:
    origin = tmp_path / "protoc.zip"
    with zipfile.ZipFile(origin, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return artefact(origin.as_uri(), origin.read_bytes(), "protoc.zip")


def test_a_converted_archive_that_is_damaged_is_made_anew(tmp_path: Path) -> None:
    wanted = zipped(tmp_path)
    good = wanted.path().read_bytes()
    wanted.path().write_bytes(b"")
    with tarfile.open(wanted.path()) as archive:
        assert archive.getnames() == ["bin/protoc"]
    assert len(wanted.path().read_bytes()) == len(good)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\x1b[2J"])
def test_a_zip_archive_with_a_file_outside_fails(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failed, match="a file outside its directory"):
        zipped(tmp_path, name).path()


def test_a_zip_archive_that_unpacks_to_too_much_or_is_none_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "MOST_UNPACKED", 1 << 20)
    with pytest.raises(Failed, match="it would unpack to 2097152 bytes"):
        zipped(tmp_path, content=bytes(2 << 20)).path()
    (tmp_path / "none.zip").write_bytes(b"none")
    with pytest.raises(Failed, match="cannot read the archive"):
        artefact((tmp_path / "none.zip").as_uri(), b"none", "none.zip").path()


def test_the_key_of_a_build_changes_with_all_that_it_depends_on() -> None:
    keys = {Build(releases.load(name, arch)).key for name in OWN for arch in ("amd64", "arm64")}
    assert len(keys) == 2 * len(OWN)
    build = Build(releases.load("2.3", "amd64"))
    assert build.key.startswith("2.3.4-") and build.label == f"containerd-{build.key}"
    assert "CGO_ENABLED=0" in build.script and "GO111MODULE=on" in build.script
    recipe = Build(releases.load("2020-04", "amd64"))
    assert "CGO_ENABLED" not in recipe.script and "GO111MODULE=off" in recipe.script
    assert "containerd-shim-runc-v1" in recipe.programs


@pytest.mark.parametrize("name", OWN)
def test_containerd_is_built_by_itself_before_the_programs_that_share_its_packages(name: str) -> None:
    build = Build(releases.load(name, "amd64"))
    steps = [line.split()[1:] for line in build.script.splitlines() if line.startswith("build ")]
    first, others = [[f"bin/{program}" for program in found] for found in (["containerd"], build.programs[1:])]
    assert steps == [first, others]


def test_a_controller_that_lacks_a_tool_is_told_which_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    with pytest.raises(Refused, match="apt-get install git make tar, or build on the host"):
        Build(releases.load("2.3", arch)).check()
    with pytest.raises(Refused, match="apt-get install git make tar gcc pkg-config"):
        Build(releases.load("2020-04", arch)).check()


def test_a_host_of_another_architecture_or_with_an_older_c_library_is_refused() -> None:
    here, other = ("amd64", "arm64") if os.uname().machine == "x86_64" else ("arm64", "amd64")
    with pytest.raises(Refused, match=f"this controller is {here}, the host {other}"):
        Build(releases.load("2.3", other)).check()
    with pytest.raises(Refused, match=r"would not run on the host(.|\n)*glibc 2\.1 there"):
        Build(releases.load("2020-04", here)).check("glibc 2.1")


@pytest.mark.parametrize(("text", "version"), [("glibc 2.36", (2, 36)), ("glibc 2.9", (2, 9)), ("", ()), ("musl", ())])
def test_versions_of_the_c_library_compare_as_numbers(text: str, version: tuple[int, ...]) -> None:
    assert libc_version(text) == version
