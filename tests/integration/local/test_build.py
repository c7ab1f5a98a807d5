"""Build a tiny source with the real script, make and tar: a build is cached whole, or made anew."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from fabfile import activity, paths
from fabfile.artefacts.build import Build
from fabfile.artefacts.releases import Artefact, Release
from fabfile.artefacts.source import Git
from fabfile.errors import Failed
from fabfile.facts.system import ARCHITECTURES
from tests.integration.machine import until

MAKEFILE = """bin/%:
\tmkdir -p bin
\techo "$$(go) snapshots/devmapper $(VERSION) $(REVISION)" >$@
"""


def build_of(directory: Path, makefile: str) -> Build:
    """A build whose Go toolchain prints `made`."""
    go, work = directory / "go" / "bin" / "go", directory / "work"
    go.parent.mkdir(parents=True)
    go.write_text("#!/bin/sh\necho made\n")
    go.chmod(0o755)
    toolchain = directory / "go.tar.gz"
    with tarfile.open(toolchain, "w:gz") as tar:
        tar.add(go.parent.parent, "go")
    work.mkdir()
    (work / "Makefile").write_text(makefile)
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "all")):
        subprocess.run(["git", *identity, *command], cwd=work, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=work, check=True, capture_output=True, text=True)
    source = Git("1", work.as_uri(), "refs/heads/main", commit.stdout.strip(), "module")
    digest = hashlib.sha256(toolchain.read_bytes()).hexdigest()
    parts = {"go": Artefact("go", "1", toolchain.as_uri(), digest, "go.tar.gz")}
    return Build(Release("test", ARCHITECTURES[os.uname().machine], source, parts))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return paths.cache()


@pytest.mark.parametrize("damage", ["empty", "other", "no record"])
def test_a_build_is_cached_and_a_damaged_one_made_again(tmp_path: Path, damage: str) -> None:
    build = build_of(tmp_path, MAKEFILE)
    assert not build.is_cached
    archive = build.path()
    made = archive.stat().st_mtime_ns
    assert build.is_cached and build.path().stat().st_mtime_ns == made
    match damage:
        case "empty":
            archive.write_bytes(b"")
        case "other":
            archive.write_bytes(b"other")
        case "no record":
            archive.with_name("containerd.tar.gz.sha256").unlink()
    assert not build.is_cached
    with tarfile.open(build.path()) as tar:
        names = {member.name for member in tar if member.isfile()}
        stream = tar.extractfile("bin/containerd")
        assert stream and stream.read().split()[:2] == [b"made", b"snapshots/devmapper"]
    assert names == {f"bin/{name}" for name in build.programs}
    assert sorted(path.name for path in archive.parent.iterdir()) == [
        ".containerd.tar.gz.lock", "build.log", "build.sh", "containerd.tar.gz", "containerd.tar.gz.sha256",
        "unpack.log",
    ]  # fmt: skip


def test_a_build_says_how_many_packages_are_compiled(tmp_path: Path) -> None:
    """The toolchain is told to name them, without a change of the script by which a build is known."""
    makefile = """bin/%:
\tcat $(GOENV)
\techo internal/goos; echo github.com/containerd/containerd
\twhile [ ! -e $$GOPATH/../seen ]; do sleep 0.05; done
\tmkdir -p bin; echo "snapshots/devmapper $(VERSION)" >$@
"""
    build = build_of(tmp_path, makefile)
    thread = threading.Thread(target=build.path)
    thread.start()
    until(lambda: activity.of("").endswith(f"building {build.label}: 2 packages compiled"), "is not counted", 20)
    (build.archive.parent / "seen").touch()
    thread.join(30)
    assert build.is_cached and activity.of("") == ""
    assert "GOFLAGS=-v" in (build.archive.parent / "build.log").read_text()


def test_the_repository_that_the_cache_lies_in_is_not_taken_for_containerds(tmp_path: Path) -> None:
    """As Go is told, with the flags of the Makefile's own variable."""
    build = build_of(tmp_path, 'bin/%:\n\tmkdir -p bin; echo "snapshots/devmapper $(GO_BUILD_FLAGS)" >$@\n')
    with tarfile.open(build.path()) as tar:
        stream = tar.extractfile("bin/containerd")
        assert stream and stream.read().decode().split() == ["snapshots/devmapper", "-trimpath", "-buildvcs=false"]


def test_where_there_is_no_cache_of_go_one_is_made_and_removed_again(tmp_path: Path) -> None:
    build = build_of(tmp_path, 'bin/%:\n\tmkdir -p bin; echo "snapshots/devmapper $$GOCACHE" >$@\n')
    (script := tmp_path / "build.sh").write_text(build.script)
    (out := tmp_path / "out").mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "GOCACHE"}
    source, goroot = build.release.containerd.path(), tmp_path / "go"
    subprocess.run(["sh", script, source, goroot, out], check=True, env=environment)
    with tarfile.open(out / "containerd.tar.gz") as tar:
        stream = tar.extractfile("bin/containerd")
        assert stream and re.fullmatch(f"snapshots/devmapper {out}/gopath[.]\\w+/cache\n", stream.read().decode())
    assert [path.name for path in out.iterdir()] == ["containerd.tar.gz"]


def test_a_killed_build_that_still_works_does_not_disturb_the_next_one(tmp_path: Path) -> None:
    """The end of the first one, which fails, comes while the second one compiles."""
    makefile = """bin/%:
\tif [ $(RUN) = first ]; then touch $(OUT)/begun; while [ ! -e $(OUT)/second ]; do sleep 0.05; done; exit 1; fi
\ttouch $(OUT)/second; while [ ! -e $(OUT)/ended ]; do sleep 0.05; done
\tmkdir -p bin; echo snapshots/devmapper >$@
"""
    build = build_of(tmp_path, makefile)
    (script := tmp_path / "build.sh").write_text(build.script)
    (out := tmp_path / "out").mkdir()
    command = ["sh", *map(str, (script, build.release.containerd.path(), tmp_path / "go", out))]
    environment = {**os.environ, "OUT": str(out)}
    with subprocess.Popen(command, env={**environment, "RUN": "first"}) as first:
        until((out / "begun").exists, "the first one does not begin", 20)
        with subprocess.Popen(command, env={**environment, "RUN": "second"}) as second:
            until((out / "second").exists, "the second one does not begin", 20)
            assert first.wait(20) != 0
            (out / "ended").touch()
            assert second.wait(20) == 0
    assert sorted(path.name for path in out.iterdir()) == ["begun", "containerd.tar.gz", "ended", "second"]


def test_the_error_of_a_package_is_not_hidden_by_the_names_of_others(tmp_path: Path) -> None:
    names = "; ".join(f"echo example.com/package{number}" for number in range(40))
    build = build_of(tmp_path, f"bin/%:\n\t@echo x/y.go:1:2: undefined; {names}; exit 1\n")
    with pytest.raises(Failed, match="undefined") as caught:
        build.path()
    assert "example.com/package39" not in caught.value.details


def test_a_build_that_fails_keeps_only_its_log(tmp_path: Path) -> None:
    build = build_of(tmp_path, "bin/%:\n\techo broken; exit 1\n")
    with pytest.raises(Failed, match=r"building containerd-1-\w+ failed(.|\n)*broken"):
        build.path()
    assert not build.is_cached
    left = {path.name for path in build.archive.parent.iterdir()}
    assert left == {".containerd.tar.gz.lock", "build.log", "build.sh", "unpack.log"}


def test_a_build_reports_a_full_disk(tmp_path: Path) -> None:
    build = build_of(tmp_path, "bin/%:\n\tcat Makefile >/dev/full\n")
    with pytest.raises(Failed, match="the disk is full: ") as caught:
        build.path()
    assert "export XDG_CACHE_HOME=" in caught.value.hint
