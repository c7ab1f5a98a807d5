"""Files of a release: downloaded, verified by digest and size, kept in the cache, and converted from zip to tar."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from fabfile import paths
from fabfile.artefacts import cache_files, releases
from fabfile.artefacts.releases import Artefact
from fabfile.errors import Failed, Refused
from tests.unit.artefacts.test_releases import sha256


def artefact(url: str, content: bytes, file: str = "runc-1.amd64", size: int = 0) -> Artefact:
    return Artefact("runc", "1", url, sha256(content), file, size)


def test_a_file_is_downloaded_once_and_cached_under_its_digest(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("damaged", [b"", b"evil"])
def test_a_damaged_cached_file_is_downloaded_again(tmp_path: Path, damaged: bytes) -> None:
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


def test_a_full_disk_is_named_with_how_to_use_another_one(tmp_path: Path) -> None:
    origin, directory = tmp_path / "runc", paths.cache() / "artefacts" / sha256(b"good")
    origin.write_bytes(b"good")
    directory.mkdir(parents=True)
    (directory / ".runc-1.amd64.part").symlink_to("/dev/full")
    with pytest.raises(Failed) as caught:
        artefact(origin.as_uri(), b"good").path()
    assert caught.value.what == f"the disk is full: {directory}"
    assert "export XDG_CACHE_HOME=" in caught.value.hint


def test_a_full_disk_that_a_program_reports_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(Failed, match=f"the disk is full: {tmp_path}"),
        cache_files.room(tmp_path),
        cache_files.room(tmp_path),
    ):
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


def test_a_damaged_converted_archive_is_made_again(tmp_path: Path) -> None:
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


def test_a_zip_archive_that_is_damaged_or_unpacks_to_too_much_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "MOST_UNPACKED", 1 << 20)
    with pytest.raises(Failed, match="it would unpack to 2097152 bytes"):
        zipped(tmp_path, content=bytes(2 << 20)).path()
    (tmp_path / "none.zip").write_bytes(b"none")
    with pytest.raises(Failed, match="cannot read the archive"):
        artefact((tmp_path / "none.zip").as_uri(), b"none", "none.zip").path()
