"""Sources from hostile repositories, addresses and environments: what is cached under a commit is its tree."""

from __future__ import annotations

import os
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from fabfile import paths
from fabfile.artefacts import address, releases, repository, source
from fabfile.artefacts.source import Git
from fabfile.errors import Failed
from tests.integration.machine import until

ATTRIBUTES = b"* text eol=crlf\nsecret export-ignore\nfile export-subst ident\n"
CONTENT = b"$Format:%H$ $Id$\none\ntwo\n"


def git(where: Path, *args: str, stdin: bytes = b"") -> str:
    """Run git as its owner would, apart from this machine's settings."""
    own = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    done = subprocess.run(["git", *identity, *args], cwd=where, env=own, input=stdin, check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and cache."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NETRC", raising=False)
    return home


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror with a repository whose attributes would change every file of an archive."""
    work, bare = tmp_path / "work", tmp_path / "a mirror" / "containerd.git"
    (work / "a folder" / "deep").mkdir(parents=True)
    git(work, "init", "-q", "-b", "main")
    (work / "file").write_bytes(CONTENT)
    (work / "secret").write_bytes(b"ignored\n")
    (work / "a folder" / "deep" / "program").write_bytes(b"#!/bin/sh\n")
    (work / "a folder" / "deep" / "program").chmod(0o755)
    (work / "a folder.txt").write_bytes("sorted before the folder, ä".encode())
    (work / "link").symlink_to("a folder/deep")
    (work / ("n" * 150)).write_bytes(b"\xff\x00")
    git(work, "add", "-A")
    (work / ".gitattributes").write_bytes(ATTRIBUTES)
    git(work, "-c", "core.autocrlf=false", "add", ".gitattributes")
    git(work, "commit", "-q", "-m", "all")
    git(work, "clone", "-q", "--bare", str(work), str(bare))
    git(bare, "update-server-info")
    return bare


def wanted(mirror: Path, **changes: str) -> Git:
    values = {"url": mirror.as_uri(), "ref": "refs/heads/main", "commit": git(mirror, "rev-parse", "main")} | changes
    return Git("1", values["url"], values["ref"], values["commit"], "gopath")


def contents(archive: Path) -> dict[str, tuple[int, bytes]]:
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar:
            stream = None if member.issym() else tar.extractfile(member)
            found[member.name] = (member.mode, stream.read() if stream else b"-> " + member.linkname.encode())
    return found


def proved(mirror: Path, archive: Path) -> None:
    """The archive is the commit's tree, as git itself sees it, unpacked."""
    work = archive.parent.parent / "unpacked"
    work.mkdir()
    git(work, "init", "-q")
    subprocess.run(["tar", "-xf", str(archive), "-C", str(work)], check=True)
    (work / ".git" / "info" / "attributes").write_text("* -text -ident -filter\n")
    git(work, "add", "-A", "-f")
    assert git(work, "write-tree") == git(mirror, "rev-parse", "main^{tree}")


def test_the_archive_is_the_tree_whatever_its_attributes_say(mirror: Path) -> None:
    archive = wanted(mirror).path()
    found = contents(archive)
    assert found["file"] == (0o644, CONTENT) and found["secret"] == (0o644, b"ignored\n")
    assert found["a folder/deep/program"] == (0o755, b"#!/bin/sh\n")
    assert found["link"][1] == b"-> a folder/deep" and found["n" * 150][1] == b"\xff\x00"
    proved(mirror, archive)


def test_the_users_configuration_and_environment_have_no_effect(
    mirror: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, ran = tmp_path / "victim", tmp_path / "ran"
    victim.mkdir()
    git(victim, "init", "-q")
    git(victim, "commit", "-q", "--allow-empty", "-m", "theirs")
    before = sorted((path, path.stat().st_mtime_ns) for path in victim.rglob("*"))
    templates = tmp_path / "templates" / "hooks"
    templates.mkdir(parents=True)
    for hook in ("reference-transaction", "post-checkout"):
        (templates / hook).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (templates / hook).chmod(0o755)
    (home / "attributes").write_text("* filter=evil\n")
    (home / ".gitconfig").write_text(
        f"[core]\n autocrlf = true\n attributesFile = {home}/attributes\n hooksPath = {templates}\n"
        f'[filter "evil"]\n smudge = touch {ran}; cat\n clean = touch {ran}; cat\n'
        f"[init]\n templateDir = {templates.parent}\n"
        f'[url "file:///nowhere/"]\n insteadOf = file:///\n[protocol]\n allow = never\n'
    )
    for key, value in {
        "GIT_DIR": str(victim / ".git"), "GIT_WORK_TREE": str(victim), "GIT_INDEX_FILE": str(victim / "index"),
        "GIT_OBJECT_DIRECTORY": str(victim / ".git" / "objects"), "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_CONFIG_PARAMETERS": "'core.bare'='false'", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.autocrlf",
        "GIT_CONFIG_VALUE_0": "true", "GIT_TEMPLATE_DIR": str(templates.parent), "GIT_TRACE": str(ran),
        "GIT_ALLOW_PROTOCOL": "ext", "GIT_EXEC_PATH": "/nonexistent", "SSH_ASKPASS": "/nonexistent",
        "XDG_CONFIG_HOME": str(home),
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    archive = wanted(mirror).path()
    assert contents(archive)["file"] == (0o644, CONTENT)
    assert sorted((path, path.stat().st_mtime_ns) for path in victim.rglob("*")) == before
    assert not ran.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": "--upload-pack=touch RAN;false", "commit": "0" * 40},
        {"url": "ext::sh -c touch% RAN", "commit": "0" * 40},
        {"url": "--upload-pack=touch RAN;false", "commit": "0" * 40},
        {"url": "ssh://-oProxyCommand=touch RAN/x", "commit": "0" * 40},
    ],
)
def test_nothing_that_looks_like_an_option_or_a_command_is_run(
    mirror: Path, tmp_path: Path, changes: dict[str, str]
) -> None:
    ran = tmp_path / "ran"
    with pytest.raises(Failed, match="cannot fetch containerd 1 from"):
        wanted(mirror, **{key: value.replace("RAN", str(ran)) for key, value in changes.items()}).path()
    assert not ran.exists()


@pytest.mark.parametrize("name", ["COMMIT.tar", "COMMIT.commit"])
@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "other", "gone"])
def test_a_damaged_cached_file_is_downloaded_again(mirror: Path, name: str, damage: str) -> None:
    asked = wanted(mirror)
    good = asked.path().read_bytes()
    file = paths.cache() / "sources" / name.replace("COMMIT", asked.commit)
    content = file.read_bytes()
    match damage:
        case "empty":
            file.write_bytes(b"")
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "changed":
            file.write_bytes(content.replace(b"one", b"two").replace(b"tree", b"tres"))
        case "other":
            file.write_bytes(bytes(len(content)))
        case "gone":
            file.unlink()
    assert asked.path().read_bytes() == good
    mirror.rename(mirror.with_name("gone"))
    assert asked.path().read_bytes() == good


def test_an_archive_with_more_than_the_tree_is_not_the_commits(mirror: Path, tmp_path: Path) -> None:
    asked = wanted(mirror)
    good = asked.path().read_bytes()
    (tmp_path / "evil").write_bytes(b"evil")
    with tarfile.open(asked.path(), "a") as tar:
        tar.add(tmp_path / "evil", "evil")
    assert asked.path().read_bytes() == good


def test_a_tree_that_describes_an_endless_one_fails(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MOST_LISTED", 1 << 20)
    inner = f"100644 blob {git(mirror, 'hash-object', '-w', '--stdin', stdin=b'bomb')}\tf\n"
    for _ in range(10):
        tree = git(mirror, "mktree", stdin=inner.encode())
        inner = "".join(f"040000 tree {tree}\td{number}\n" for number in range(10))
    commit = git(mirror, "commit-tree", "-m", "bomb", tree)
    git(mirror, "update-ref", "refs/heads/bomb", commit)
    with pytest.raises(Failed, match="git ls-tree failed"):
        wanted(mirror, commit=commit, ref="refs/heads/bomb").path()
    assert not [path for path in (paths.cache() / "sources").iterdir() if not path.name.endswith(".lock")]


def test_a_submodule_fails(mirror: Path) -> None:
    tree = git(mirror, "mktree", stdin=f"160000 commit {'1' * 40}\tmodule\n".encode())
    commit = git(mirror, "commit-tree", "-m", "module", tree)
    git(mirror, "update-ref", "refs/heads/module", commit)
    with pytest.raises(Failed, match="cannot use commit"):
        wanted(mirror, commit=commit, ref="refs/heads/module").path()


def test_a_server_that_hangs_is_given_up_with_all_of_gits_processes(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "SECONDS", 3)
    with socket.create_server(("127.0.0.1", 0)) as dead:
        url = f"http://127.0.0.1:{dead.getsockname()[1]}/containerd.git"
        with pytest.raises(Failed, match="it took longer than 3 s"):
            wanted(mirror, url=url).path()
    until(lambda: not [line for line in command_lines() if url in line], "leaves git behind", 10)


def command_lines() -> list[str]:
    """The arguments of every process, as every user may read them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The host and port of a server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def locked_server(mirror: Path) -> Iterator[tuple[str, list[str]]]:
    """The host and port of a server that wants a password, and all arguments that were seen while it served."""
    seen: list[str] = []

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(mirror.parent))

        def do_GET(self) -> None:
            seen.extend(command_lines())
            if self.headers["Authorization"] != "Basic dXNlcjpTRUNSRVQ=":
                self.send_error(401)
                return
            super().do_GET()

        def log_message(self, *args: object) -> None:
            pass

    with serving(Files) as host:
        yield host, seen


def test_the_password_of_an_address_is_in_no_arguments(
    mirror: Path, locked_server: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    host, seen = locked_server
    base = releases.base_url(f"http://user:SECRET@{host}")
    archive = wanted(mirror, url=address.clean(f"{base}/containerd.git", "url")).path()
    assert contents(archive)["file"][1] == CONTENT
    assert any(f"http://{host}/containerd.git" in line for line in seen)
    secrets = ("SECRET", "dXNlcjpTRUNSRVQ=")
    assert not [line for line in seen if any(secret in line for secret in secrets)]
    out = capsys.readouterr()
    assert "SECRET" not in out.out + out.err


@pytest.mark.parametrize("kept", ["in the address", "in netrc"])
def test_the_password_follows_no_redirect(
    mirror: Path, locked_server: tuple[str, list[str]], home: Path, kept: str
) -> None:
    requests: list[str | None] = []

    class Redirects(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.headers["Authorization"])
            self.send_response(302)
            self.send_header("Location", f"http://{locked_server[0]}{self.path}")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with serving(Redirects) as host:
        if kept == "in netrc":
            (home / ".netrc").write_text("machine 127.0.0.1 login user password SECRET\n")
            (home / ".netrc").chmod(0o600)
        address.clean(f"http://{'' if kept == 'in netrc' else 'user:SECRET@'}{host}", "url")
        with pytest.raises(Failed, match="cannot fetch containerd") as failed:
            wanted(mirror, url=f"http://{host}/containerd.git").path()
    assert set(requests) == {"Basic dXNlcjpTRUNSRVQ="}, "the first server gets it"
    assert locked_server[1] == [], "the other one is not even asked"
    assert "redirect" in failed.value.hint and "password" in failed.value.hint


def test_the_password_of_netrc_is_gits_too(mirror: Path, locked_server: tuple[str, list[str]], home: Path) -> None:
    asked = wanted(mirror, url=f"http://{locked_server[0]}/containerd.git")
    with pytest.raises(Failed, match="cannot fetch containerd"):
        asked.path()
    (home / ".netrc").write_text("machine 127.0.0.1 login user password SECRET\n")
    (home / ".netrc").chmod(0o600)
    assert contents(asked.path())["file"][1] == CONTENT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
def test_a_mirror_of_another_user_is_refused_with_the_fix(mirror: Path) -> None:
    asked = wanted(mirror)
    assert repository._trusted(asked.url) == f'[safe]\n\tdirectory = "{mirror}"\n'
    os.chown(mirror, 65534, 65534)
    assert repository._trusted(asked.url) == ""
    with pytest.raises(Failed) as caught:
        asked.path()
    assert "dubious ownership" in caught.value.details and "chown -R root" in caught.value.hint
