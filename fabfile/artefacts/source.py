"""containerd's source at one commit, from its repository, or from the same repository in a mirror."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Literal

import msgspec

from fabfile import activity, paths
from fabfile.artefacts import cache_files, git_tree
from fabfile.artefacts.download import locked
from fabfile.artefacts.repository import MOST, Repository
from fabfile.artefacts.web import HINT
from fabfile.console import say
from fabfile.errors import Failed, Refused

MOST_LISTED = 64 << 20
"""Limit for the listing of a tree in bytes: a small repository can describe an endless tree."""


HINTS = {
    # git suggests a line in ~/.gitconfig, which has no effect here.
    "dubious ownership": "the mirror must belong to you or to root: chown -R root DIRECTORY",
    "returned error: 30[1-8]": "it redirects, and a password follows no redirect: name the address that it leads to",
}
"""Message of git → how to fix it."""


class Git(msgspec.Struct, frozen=True):
    """containerd's source at one commit. It is a `plan.UploadSource`: a tar archive of it."""

    version: str
    url: str
    ref: str
    commit: str
    mode: Literal["gopath", "module"]
    cgo: bool = False
    """Build with a C compiler and against the machine's libraries, as in 2020; otherwise statically."""

    @property
    def label(self) -> str:
        """Version and commit."""
        return f"containerd-source-{self.version}-{self.commit[:12]}"

    def path(self) -> Path:
        """Fetch the commit, or find it in the cache, and return the path of a tar archive of exactly its tree.

        The cached archive is verified against the commit at each use, and fetched again if it differs.

        Raises:
            Refused: this controller has no git.
            Failed: the repository does not respond, or has no such commit.
        """
        wanted = cache_files.inside(paths.cache() / "sources", f"{self.commit}.tar")
        record = wanted.with_suffix(".commit")
        with locked(wanted):
            if not git_tree.is_of(wanted, record, self.commit):
                _archive(self, wanted, record)
        return wanted


def _archive(git: Git, wanted: Path, record: Path) -> None:
    import tempfile

    if not shutil.which("git"):
        raise Refused("git is missing on this controller", "it fetches containerd's source", hint="apt-get install git")
    for left in wanted.parent.glob(f".{git.commit}-*"):
        shutil.rmtree(left, ignore_errors=True)
    doing = f"fetching containerd {git.version}"
    say(f"{doing} from {git.url}")
    temporary = tempfile.TemporaryDirectory(dir=wanted.parent, prefix=f".{git.commit}-")
    # The directory is removed before the full disk is examined.
    with temporary as directory, cache_files.room(wanted.parent), activity.doing(lambda: doing):
        repository = Repository(Path(directory), git.url)
        _fetch(git, repository)
        commit, part = repository.directory / "commit", repository.directory / "source.tar"
        try:
            commit.write_bytes(_output(repository, "cat-file", "commit", git.commit).read_bytes())
            _write(git, repository, part, git_tree.of_commit(commit.read_bytes())[1])
        except ValueError as error:
            raise Failed(f"cannot use commit {git.commit} of {git.url}", str(error), hint=HINT) from error
        if not git_tree.is_of(part, commit, git.commit):
            raise Failed(f"{git.url} did not serve commit {git.commit}", hint=HINT)
        cache_files.settle(commit, record)
        cache_files.settle(part, wanted)


def _fetch(git: Git, repository: Repository) -> None:
    # One commit if the server allows that; otherwise, as from a mirror of plain files, the ref with its history.
    fetched = repository.fetch(git.commit, "--depth=1")
    if fetched.exited:
        fetched = repository.fetch(git.ref)
    if fetched.exited or repository.run("cat-file", "-e", f"{git.commit}^{{commit}}").exited:
        raise Failed(
            f"cannot fetch containerd {git.version} from {git.url}",
            f"{fetched.stderr}\nwanted: commit {git.commit} of {git.ref}",
            hint=next((hint for what, hint in HINTS.items() if re.search(what, fetched.stderr)), HINT),
        )


def _write(git: Git, repository: Repository, archive: Path, when: int) -> None:
    """Write the archive from git's objects, as `git archive` would follow attributes in the tree."""
    listing = _output(repository, "ls-tree", "-r", "-z", "--full-tree", git.commit, most=MOST_LISTED)
    wanted = list(git_tree.entries(listing.read_bytes()))
    ids = repository.directory / "ids"
    ids.write_text("".join(f"{found}\n" for found in dict.fromkeys(entry.id for entry in wanted)))
    with _output(repository, "cat-file", "--batch", "--buffer", stdin=ids).open("rb") as objects:
        git_tree.write(archive, wanted, objects, when)


def _output(repository: Repository, *args: str, stdin: Path = Path(os.devnull), most: int = MOST) -> Path:
    done = repository.run(*args, stdin=stdin, most=most)
    if done.exited:
        raise Failed(f"git {args[0]} failed", f"exit code {done.exited}\n{done.stderr}", hint=HINT)
    return done.stdout
