"""releases.toml, mistakes in one, and mirrors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toml

from fabfile import paths
from fabfile.artefacts import releases
from fabfile.errors import Failed, Refused

REAL = toml.loads((paths.REPOSITORY / "releases.toml").read_text())
SOURCE = {"ref": "refs/tags/v1.6.20", "commit": "a" * 40, "mode": "gopath"}
FILES = REAL["file"]
OWN = [name for name, content in REAL["set"].items() if not content.get("from_mirror")]


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Have every test read the table again."""
    releases.load.cache_clear()
    yield
    releases.load.cache_clear()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def mirror_with(directory: Path, **changes: Any) -> str:
    """A mirror directory with a `lab` release, defined with `changes`; each file contains the name of its part."""
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


def test_the_catalogue_says_the_size_beside_the_digest_or_the_digest_alone(tmp_path: Path) -> None:
    both = {"sha256": sha256(b"runc"), "size": 4}
    release = releases.load("lab", "amd64", mirror_with(tmp_path, runc={"1.1.5": {"amd64": both}}))
    assert (release.runc.size, release.go.size) == (4, 0)
    assert release.runc.path().read_bytes() == b"runc"
    ours = releases.load("2.3", "amd64")
    assert ours.go.size == REAL["go"]["1.26.5"]["amd64"]["size"]
