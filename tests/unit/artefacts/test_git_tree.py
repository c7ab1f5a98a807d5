"""Damaged or hostile trees, commits and archives: the id of a tree, or one clear error."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabfile.artefacts import git_tree
from fabfile.artefacts.git_tree import TreeFile
from fabfile.artefacts.web import content_length

EMPTY = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
"""git's id of an empty file."""
TEXT = b"a file\n"


def archive(directory: Path) -> Path:
    file = directory / "archive.tar"
    of_text = git_tree.object_id("blob", TEXT)
    wanted = [TreeFile("100644", of_text, "a/b"), TreeFile("100755", EMPTY, "a.b"), TreeFile("120000", of_text, "c")]
    objects = f"{of_text} blob {len(TEXT)}\n".encode() + TEXT + f"\n{EMPTY} blob 0\n\n".encode()
    git_tree.write(file, wanted, io.BytesIO(objects), 0)
    return file


def test_ids_are_those_of_git(tmp_path: Path) -> None:
    assert git_tree.object_id("blob", b"") == EMPTY
    assert git_tree.object_id("tree", b"") == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    assert git_tree.of_archive(archive(tmp_path)) == git_tree.of_archive(archive(tmp_path))


def held(file: Path) -> dict[str, tuple[bool, bool, str, bytes]]:
    """The content of an archive that is also in the tree: name → is a link, is executable, target, content."""
    with tarfile.open(file, "r:") as tar:
        return {
            of.name: (
                of.issym(),
                bool(of.mode & 0o100) and not of.issym(),
                of.linkname,
                stream.read() if stream else b"",
            )
            for of in tar
            for stream in [None if of.issym() else tar.extractfile(of)]
        }


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=30_000)
@given(st.integers(0, 2600), st.binary(min_size=1, max_size=40))
def test_any_damage_to_an_archive_is_another_tree_or_one_error(tmp_path: Path, place: int, damage: bytes) -> None:
    file = archive(tmp_path)
    content, whole, good = file.read_bytes(), held(file), git_tree.of_archive(file)
    file.write_bytes(content[:place] + damage + content[place + len(damage) :])
    try:
        found = git_tree.of_archive(file)
    except ValueError:
        return
    assert len(found) == 40
    assert (found == good) == (held(file) == whole), "the id is that of what is unpacked"


@pytest.mark.parametrize(
    "line",
    [
        "160000 commit %s\tmodule",
        "100664 blob %s\tmode",
        "100644 blob %s\t../x",
        "100644 blob %s\ta/../x",
        "100644 blob %s\t/x",
        "100644 blob %s\t.git/config",
        "100644 blob %s\ta/.GIT/config",
        "100644 blob %s\t" + "/".join("a" * 100),
        "",
        "100644",
    ],
)
def test_what_cannot_be_in_an_archive_is_an_error(line: str) -> None:
    with pytest.raises(ValueError):
        list(git_tree.entries((line.replace("%s", EMPTY) + "\0").encode()))


@given(st.binary(max_size=200))
def test_any_listing_is_entries_or_one_error(listing: bytes) -> None:
    try:
        assert all(entry.mode in ("100644", "100755", "120000") for entry in git_tree.entries(listing))
    except ValueError:
        return


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda more: b"tree " + b"a" * 40 + b"\n" + more))
def test_any_commit_has_a_tree_or_is_an_error(content: bytes) -> None:
    try:
        found, when = git_tree.of_commit(content)
    except ValueError:
        return
    assert found.encode() in content and when >= 0


@pytest.mark.parametrize("answer", [b"", b"x missing\n", b"0000 blob 3\nabc\n", b"%s tree 0\n\n", b"%s blob x\n"])
def test_objects_that_git_lacks_or_that_are_no_files_are_an_error(tmp_path: Path, answer: bytes) -> None:
    objects = io.BytesIO(answer.replace(b"%s", EMPTY.encode()))
    with pytest.raises(ValueError):
        git_tree.write(tmp_path / "a.tar", [TreeFile("100644", EMPTY, "a")], objects, 0)


def test_files_that_are_too_large_are_an_error_before_they_are_read(tmp_path: Path) -> None:
    objects = io.BytesIO(f"{EMPTY} blob {1 << 40}\n".encode())
    with pytest.raises(ValueError, match="too large"):
        git_tree.write(tmp_path / "a.tar", [TreeFile("100644", EMPTY, "a")], objects, 0)


@given(st.lists(st.text(max_size=30) | st.integers().map(str), max_size=3))
def test_any_content_length_is_a_number_none_or_one_error(values: list[str]) -> None:
    try:
        length = content_length(values)
    except ValueError:
        return
    assert length is None if not values else length is not None and 0 <= length < 10**18
