"""containerd's source at one commit, from its repository or from the same repository under a mirror."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from fabfile import paths
from fabfile.console import say
from fabfile.download import HINT, TIMEOUT, locked
from fabfile.errors import Failed, Refused

if TYPE_CHECKING:
    import subprocess


class Git(msgspec.Struct, frozen=True):
    """containerd's source at one commit. It is a `plan.Source`: a tar archive of it."""

    version: str
    url: str
    ref: str
    commit: str
    mode: Literal["gopath", "module"]
    cgo: bool = False
    """Build with a C compiler against the machine's own libraries, as the 2020 recipe did; else statically."""

    @property
    def label(self) -> str:
        """Version and commit."""
        return f"containerd-source-{self.version}-{self.commit[:12]}"

    def path(self) -> Path:
        """Fetch the commit, or find it in the cache, and return a tar archive of exactly its tree.

        Raises:
            Refused: this controller has no git.
            Failed: the repository does not answer, or has no such commit.
        """
        wanted = paths.cache() / "sources" / f"{self.commit}.tar"
        with locked(wanted):
            if not wanted.exists():
                _archive(self, wanted)
        return wanted


def _archive(git: Git, wanted: Path) -> None:
    import tempfile

    if not shutil.which("git"):
        raise Refused("git is missing here", "it fetches containerd's source", hint="apt-get install git")
    say(f"fetching containerd {git.version} from {git.url}")
    with tempfile.TemporaryDirectory(dir=wanted.parent) as directory:
        _git(directory, "init", "-q", "--bare")
        # One commit where the server lets us ask for it; else (a mirror of plain files) the ref with its history.
        fetched = _git(directory, "fetch", "-q", "--depth=1", git.url, git.commit)
        if fetched.returncode:
            fetched = _git(directory, "fetch", "-q", git.url, git.ref)
        if fetched.returncode or _git(directory, "cat-file", "-e", f"{git.commit}^{{commit}}").returncode:
            raise Failed(
                f"cannot fetch containerd {git.version} from {git.url}",
                f"{fetched.stderr.strip()}\nwanted: commit {git.commit} of {git.ref}",
                hint=HINT,
            )
        part = Path(directory) / "source.tar"
        archived = _git(directory, "archive", "-o", str(part), git.commit)
        if archived.returncode:
            raise Failed(f"git archive {git.commit} failed", f"exit code {archived.returncode}\n{archived.stderr}")
        part.rename(wanted)


def _git(directory: str, *args: str) -> subprocess.CompletedProcess[str]:
    import os
    import subprocess

    # A server that stops sending is given up, and one that wants a password is an error: nobody is asked.
    options = ("-c", "http.lowSpeedLimit=1", "-c", f"http.lowSpeedTime={TIMEOUT}", "-c", "core.autocrlf=false")
    return subprocess.run(
        ["git", "-C", directory, *options, *args],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        check=False,
    )
