"""Downloads over real HTTP and git from servers that misbehave in the usual ways."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from fabfile import activity, events, paths
from fabfile.artefacts import web as web_module
from fabfile.artefacts.releases import Artefact
from fabfile.artefacts.source import Git
from fabfile.errors import Failed
from tests.integration.machine import until

CONTENT = bytes(range(256)) * 8192
RELEASED = Event()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Misbehaving(BaseHTTPRequestHandler):
    """Serves CONTENT at /good, and at any other path the fault that the path names. Keeps every request."""

    seen: list[str]

    def do_GET(self) -> None:
        """Answer."""
        self.seen.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/chunked":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/stalls":
            self.wfile.write(CONTENT[:1000])
            self.wfile.flush()
            RELEASED.wait()
        else:
            body = {"/short": CONTENT[:-1000], "/other": CONTENT[::-1]}.get(self.path, CONTENT)
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return paths.cache()


def serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    RELEASED.set()
    server.shutdown()
    server.server_close()
    RELEASED.clear()


@pytest.fixture
def web() -> Iterator[str]:
    """The address of a server that misbehaves."""
    Misbehaving.seen = []
    yield from serve(Misbehaving)


def artefact(url: str) -> Artefact:
    return Artefact("runc", "1", url, SHA256, "runc-1.amd64")


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


@pytest.mark.parametrize(
    ("path", "details"),
    [
        ("/missing", "HTTP 404"),
        ("/short", f"{len(CONTENT) - 1000} of {len(CONTENT)} bytes"),
        ("/other", f"expected {SHA256}"),
        ("/stalls", "timed out"),
    ],
)
def test_an_incomplete_or_wrong_download_fails_and_is_not_kept(
    web: str, cache: Path, path: str, details: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_module, "TIMEOUT", 1)
    with pytest.raises(Failed) as caught:
        artefact(web + path).path()
    assert web + path in caught.value.what
    assert details in caught.value.details
    assert caught.value.hint
    assert leftovers(cache) == []


def test_a_mirror_that_is_down_fails_with_how_to_use_another(cache: Path) -> None:
    with pytest.raises(Failed, match=r"cannot download http://127\.0\.0\.1:9/runc(.|\n)*refused(.|\n)*--mirror"):
        artefact("http://127.0.0.1:9/runc").path()
    assert leftovers(cache) == []


def test_a_download_and_whoever_waits_for_it_say_so(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def path(host: str) -> None:
        with events.on(host), suppress(Failed):
            artefact(f"{web}/stalls").path()

    monkeypatch.setattr(web_module, "TIMEOUT", 3)
    threads = [Thread(target=path, args=(host,)) for host in ("one", "two")]
    for thread in threads:
        thread.start()
    until(lambda: "1000B of 2.0M" in activity.of("one") + activity.of("two"), "is not told", 20)
    until(lambda: "waiting for runc-1.amd64" in activity.of("one") + activity.of("two"), "is not told", 20)
    for thread in threads:
        thread.join(30)
    assert activity.of("one") == activity.of("two") == ""


@pytest.mark.parametrize("path", ["/good", "/chunked"])
def test_many_threads_fetch_once_and_all_get_it(web: str, cache: Path, path: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: artefact(web + path).path().read_bytes(), range(16)))
    assert found == [CONTENT] * 16
    assert Misbehaving.seen == [path]
    assert leftovers(cache) == ["runc-1.amd64"]


def test_a_download_that_was_killed_half_way_does_not_disturb_the_next(web: str, cache: Path) -> None:
    half = cache / "artefacts" / SHA256 / ".runc-1.amd64.part"
    half.parent.mkdir(parents=True)
    half.write_bytes(CONTENT[::-1] * 2)
    assert artefact(f"{web}/good").path().read_bytes() == CONTENT
    assert leftovers(cache) == ["runc-1.amd64"]


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str]:
    """A mirror with a repository of two commits, the older one tagged; and the tagged commit."""
    work, bare = tmp_path / "work", tmp_path / "mirror" / "containerd.git"
    work.mkdir()

    def git(*args: str) -> str:
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        done = subprocess.run(["git", *identity, *args], cwd=work, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    for content in ("tagged", "later"):
        (work / "file").write_text(content)
        git("add", "file")
        git("commit", "-q", "-m", content)
    commit = git("rev-parse", "HEAD~")
    git("tag", "-a", "-m", "release", "v1", commit)
    git("clone", "-q", "--bare", str(work), str(bare))
    subprocess.run(["git", "update-server-info"], cwd=bare, check=True)
    return bare, commit


def content_of(archive: Path) -> str:
    with tarfile.open(archive) as tar:
        member = tar.extractfile("file")
        assert member is not None
        return member.read().decode()


@pytest.mark.parametrize("ref", ["refs/tags/v1", "refs/heads/main"])
def test_exactly_the_commit_comes_from_a_directory(repository: tuple[Path, str], ref: str) -> None:
    bare, commit = repository
    git = Git("1", bare.as_uri(), ref, commit, "gopath")
    assert content_of(git.path()) == "tagged"
    bare.rename(bare.with_name("gone"))
    assert content_of(git.path()) == "tagged"


def test_exactly_the_commit_comes_from_a_server_of_plain_files(repository: tuple[Path, str], tmp_path: Path) -> None:
    bare, commit = repository

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(bare.parent))

        def log_message(self, *args: object) -> None:
            pass

    for address in serve(Files):
        git = Git("1", f"{address}/containerd.git", "refs/tags/v1", commit, "gopath")
        assert content_of(git.path()) == "tagged"


@pytest.mark.parametrize("commit", ["0" * 40, None])
def test_a_missing_commit_or_repository_fails(repository: tuple[Path, str], cache: Path, commit: str | None) -> None:
    bare, tagged = repository
    url = bare.as_uri() if commit else "http://127.0.0.1:9/containerd.git"
    with pytest.raises(Failed) as caught:
        Git("1", url, "refs/tags/v1", commit or tagged, "gopath").path()
    assert url in caught.value.what
    assert f"wanted: commit {commit or tagged}" in caught.value.details
    assert leftovers(cache) == []
