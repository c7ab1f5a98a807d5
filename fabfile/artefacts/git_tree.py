"""A git tree as a tar archive: such an archive can be verified against a commit's id without git."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

MOST = 2 << 30
"""Limit for all files of a tree together in bytes."""

LARGEST = 256 << 20
"""Limit for one file in bytes."""

DEPTH = 64
"""Limit for the depth of directories."""

FILE, PROGRAM, LINK, FOLDER = "100644", "100755", "120000", "40000"


class TreeFile(msgspec.Struct, frozen=True):
    """A file of a tree."""

    mode: str
    id: str
    path: str


def entries(listing: bytes) -> Iterator[TreeFile]:
    """Parse the output of `git ls-tree -r -z`.

    Raises:
        ValueError: something is not allowed in the archive: a submodule, another mode, or a path that leads elsewhere.
    """
    for line in listing.split(b"\0")[:-1]:
        about, _, name = line.partition(b"\t")
        path = name.decode(errors="surrogateescape")
        mode, _, found = about.decode("ascii").split(" ")
        parts = path.split("/")
        if mode not in (FILE, PROGRAM, LINK) or len(parts) > DEPTH:
            raise ValueError(f"{path!r:.200} has mode {mode}, at depth {len(parts)}")
        if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
            raise ValueError(f"{path!r:.200} is no path of a source")
        yield TreeFile(mode, found, path)


def write(archive: Path, wanted: list[TreeFile], objects: IO[bytes], when: int) -> None:
    """Write the archive.

    Args:
        archive: path of the archive.
        wanted: files of the tree.
        objects: output of `git cat-file --batch` for each of their ids once, in the order of first occurrence.
        when: time of all files in seconds since 1970.

    Raises:
        ValueError: an object is missing, is not a file, or is too large.
    """
    places: dict[str, list[TreeFile]] = {}
    for entry in wanted:
        places.setdefault(entry.id, []).append(entry)
    total = 0
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for found, users in places.items():
            answer = objects.readline(200).decode("ascii", "replace").split()
            if answer[:2] != [found, "blob"]:
                raise ValueError(f"no file {found}: {' '.join(answer)}")
            size = int(answer[2])
            total += size * len(users)
            if size > LARGEST or total > MOST:
                raise ValueError(f"too large: {users[0].path!r:.200} of {size} bytes, {total} with all before it")
            content = objects.read(size)
            objects.readline(2)
            for entry in users:
                _add(tar, entry, content, when)


def _add(tar: tarfile.TarFile, entry: TreeFile, content: bytes, when: int) -> None:
    import io

    info = tarfile.TarInfo(entry.path)
    info.mtime, info.mode = when, 0o755 if entry.mode == PROGRAM else 0o644
    if entry.mode == LINK:
        info.type, info.linkname = tarfile.SYMTYPE, content.decode(errors="surrogateescape")
        tar.addfile(info)
    else:
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def of_archive(archive: Path) -> str:
    """Return the id of the tree in an archive.

    Raises:
        ValueError: the archive is damaged, or contains something else than files and links.
    """
    root: dict[bytes, Any] = {}
    try:
        with tarfile.open(archive, "r:", errorlevel=2) as tar:
            for member in tar:
                *folders, name = member.name.encode(errors="surrogateescape").split(b"/")
                if len(folders) >= DEPTH:
                    raise ValueError(f"{member.name!r:.200} is too deep")
                folder = root
                for each in folders:
                    folder = folder.setdefault(each, {})
                if not isinstance(folder, dict) or name in folder:
                    raise ValueError(f"{member.name!r:.200} is there twice")
                folder[name] = _member(tar, member)
    except (tarfile.TarError, OSError, EOFError, AttributeError) as error:
        raise ValueError(f"{archive} is no archive: {error}") from error
    return _tree(root)


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, str]:
    if member.issym():
        return LINK, object_id("blob", member.linkname.encode(errors="surrogateescape"))
    stream = tar.extractfile(member) if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else None
    if stream is None:
        raise ValueError(f"{member.name!r:.200} is neither a file nor a link")
    digest = hashlib.sha1(b"blob %d\0" % member.size, usedforsecurity=False)
    while block := stream.read(1 << 20):
        digest.update(block)
    return PROGRAM if member.mode & 0o100 else FILE, digest.hexdigest()


def _tree(folder: dict[bytes, Any]) -> str:
    lines = []
    for name, found in folder.items():
        mode, digest = (FOLDER, _tree(found)) if isinstance(found, dict) else found
        # git sorts a directory as if its name ended with a slash
        key = name + b"/" if mode == FOLDER else name
        lines.append((key, mode.encode() + b" " + name + b"\0" + bytes.fromhex(digest)))
    return object_id("tree", b"".join(line for _, line in sorted(lines)))


def object_id(kind: str, content: bytes) -> str:
    """Return git's id of an object."""
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def of_commit(commit: bytes) -> tuple[str, int]:
    """Return the id of a commit's tree, and its time in seconds since 1970.

    Raises:
        ValueError: it is not a commit.
    """
    head = commit.partition(b"\n\n")[0]
    found = re.match(rb"tree ([0-9a-f]{40})\n", head)
    when = re.search(rb"^committer .* (\d{1,11}) [+-]\d{4}$", head, re.MULTILINE)
    if not found:
        raise ValueError("no commit")
    return found[1].decode(), int(when[1]) if when else 0


def is_of(archive: Path, record: Path, commit: str) -> bool:
    """Return whether an archive is exactly the tree of a commit.

    Args:
        archive: path of the archive.
        record: file with the commit object, whose digest is the commit's id.
        commit: id of the commit.
    """
    try:
        content = record.read_bytes()
        return object_id("commit", content) == commit and of_archive(archive) == of_commit(content)[0]
    except (FileNotFoundError, ValueError):
        return False
