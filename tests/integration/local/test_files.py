"""Files are written atomically, with their mode and any content, and read back unchanged."""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invoke import Context

from fabfile.apply import apply, apply_script
from fabfile.converge import converge
from fabfile.errors import Failed
from fabfile.facts import files
from fabfile.facts.query import Query
from fabfile.plan import Change, Command, File, Step, file
from fabfile.remote.target import PROLOGUE
from tests.unit import fakes

NASTY = "it's \"quoted\" $HOME `id` \\n %s %% \\\n\t\r\x0b\x0c\x1b[0m é 漢字 \U0001f980\n\n  @@0\n@file /x\n|\nEOF\n'\n"

lines = st.text(st.characters(min_codepoint=1, exclude_characters="\n", exclude_categories=["Cs"]), max_size=30)
texts = st.lists(lines, max_size=5).map(lambda found: "".join(f"{line}\n" for line in found))


def write(*changes: Change, run: Path) -> subprocess.CompletedProcess[str]:
    """Run the apply script in a plain shell, with a generation that always matches."""
    (run / "generation").write_text("0\n")
    script = PROLOGUE + apply_script(changes, {}, "0")
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def gathered(*paths: Path) -> dict[str, files.FileFact]:
    """The fact, gathered by running its fragment in a plain shell."""
    script = PROLOGUE + files.fragment(Query(files=tuple(map(str, paths))))
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True, stdin=subprocess.DEVNULL)
    return files.parse(done.stdout.decode())


def names(directory: Path) -> list[str]:
    """The contents of a directory."""
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_written_with_directory_content_and_mode(run_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "it's new" / "a b" / "file.conf"
    assert write(File("why", str(path), NASTY, mode=0o750), run=run_dir).returncode == 0
    assert path.read_bytes() == NASTY.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert names(path.parent) == ["file.conf"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_the_mode_of_an_existing_file_is_set(run_dir: Path, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_text("a\n")
    path.chmod(0o777)
    assert write(File("why", str(path), "a\n", mode=mode), run=run_dir).returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == mode


@settings(max_examples=60)
@given(content=texts, mode=st.sampled_from([0o600, 0o644, 0o755]))
def test_facts_show_what_was_written(tmp_path_factory: pytest.TempPathFactory, content: str, mode: int) -> None:
    directory = tmp_path_factory.mktemp("seen")
    path = directory / "file"
    script = f"printf %s {shlex.quote(content)} >'{path}'; chmod {mode:o} '{path}'"
    subprocess.run(["sh", "-c", script], check=True)
    assert path.read_bytes() == content.encode()
    assert gathered(path, directory / "absent") == {str(path): files.FileFact(content, mode)}


@settings(max_examples=60)
@given(content=texts)
def test_any_text_is_written_to_the_letter(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    directory = tmp_path_factory.mktemp("letter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fabfile.remote.lock.LOCK", str(directory / "lock"))
        patch.setattr("fabfile.remote.lock.GENERATION", str(directory / "generation"))
        assert write(File("why", str(directory / "file"), content), run=directory).returncode == 0
    assert (directory / "file").read_bytes() == content.encode()


def test_facts_show_empty_missing_and_oddly_named_files(tmp_path: Path) -> None:
    empty, odd, absent = tmp_path / "empty", tmp_path / "o'dd $name =x", tmp_path / "absent"
    empty.touch(mode=0o640)
    odd.write_text("a\n")
    odd.chmod(0o600)
    directory = tmp_path / "directory"
    directory.mkdir()
    assert gathered(empty, odd, absent, directory) == {
        str(empty): files.FileFact("", 0o640),
        str(odd): files.FileFact("a\n", 0o600),
    }
    assert gathered(absent) == {}
    assert gathered() == {}


def test_facts_follow_links(tmp_path: Path) -> None:
    (tmp_path / "goal").write_text("a\n")
    (tmp_path / "goal").chmod(0o600)
    (tmp_path / "link").symlink_to("goal")
    assert gathered(tmp_path / "link") == {str(tmp_path / "link"): files.FileFact("a\n", 0o600)}


def test_a_reader_never_sees_half_a_file(run_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = ["a" * 60_000 + "\n", "b" * 60_000 + "\n"]
    path.write_text(versions[0])
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 30):
        assert write(File("why", str(path), versions[number % 2]), run=run_dir).returncode == 0
    done.set()
    reader.join()
    assert seen == set(versions)


def test_a_refused_file_changes_nothing(run_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "etc" / "config.toml"
    path.parent.mkdir()
    path.write_text("old\n")
    validate = f'cp "$1" {tmp_path}/shown; echo "line 1: no"; false'
    done = write(File("why", str(path), "new\n", validate=validate, backup=f"{path}.bak"), run=run_dir)
    assert done.returncode == 1
    assert "line 1: no" in done.stdout
    assert (tmp_path / "shown").read_text() == "new\n", "what is validated is the new content"
    assert path.read_text() == "old\n"
    assert names(path.parent) == ["config.toml"]


def test_a_secret_is_never_readable_by_others_while_it_is_written(run_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "key"
    validate = f'stat -c %a "$1" >{tmp_path}/mode'
    (tmp_path / "key.new").write_text("left by a killed run\n")
    assert write(File("why", str(path), "secret\n", mode=0o600, validate=validate), run=run_dir).returncode == 0
    assert (tmp_path / "mode").read_text() == "600\n"
    assert path.read_text() == "secret\n"


def test_the_backup_is_the_file_as_it_was(run_dir: Path, tmp_path: Path) -> None:
    path, backup = tmp_path / "file", tmp_path / "file.bak"
    change = File("why", str(path), "new\n", backup=str(backup))
    assert write(change, run=run_dir).returncode == 0
    assert not backup.exists(), "there was nothing to keep"
    path.write_text("mine\n")
    path.chmod(0o600)
    assert write(change, run=run_dir).returncode == 0
    assert (path.read_text(), backup.read_text()) == ("new\n", "mine\n")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_a_directory_in_the_way_is_a_failure_and_left_alone(run_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "etc" / "file"
    path.mkdir(parents=True)
    assert write(File("why", str(path), "new\n"), run=run_dir).returncode != 0
    assert names(path) == []
    assert names(path.parent) == ["file"]


def test_a_full_disk_leaves_the_old_file(run_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "full" / "file"
    path.parent.mkdir()
    small = f"mount -t tmpfs -o size=16k none {path.parent}; echo old >{path}"
    script = apply_script([Command("a small disk", small), File("why", str(path), "x" * 60_000)], {}, "0")
    # In a mount namespace of its own, which ends with the shell.
    look_after = f'sh -c "$1"; echo "exit $?"; head -c 10 {path}; ls {path.parent}'
    command = ["unshare", "-m", "sh", "-c", look_after, "sh", PROLOGUE + script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert re.search(r"exit [1-9]\d*\nold\nfile\n$", done.stdout), done.stdout + done.stderr


def test_a_step_of_files_converges_and_stays(c: Context, run_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "unit"
    real = Step("unit", lambda have: file(have, "a unit", str(path), NASTY), Query(files=(str(path),)))
    (first,) = converge(c, [real])
    inode = path.stat().st_ino
    (second,) = converge(c, [real])
    assert (first.status, second.status) == ("changed", "ok")
    assert path.stat().st_ino == inode, "nothing was written"
    assert path.read_bytes() == NASTY.encode()


def test_a_failure_names_the_file_step(c: Context, run_dir: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a directory has to be")
    with pytest.raises(Failed, match="unit: the unit's file: failed") as failed:
        apply(c, "unit", [File("the unit's file", f"{blocked}/x", "a\n")], fakes.have())
    assert str(blocked) in failed.value.details
