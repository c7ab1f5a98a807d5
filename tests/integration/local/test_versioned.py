"""The script that installs a version, run by a shell with values that contain shell syntax."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from fabfile.artefacts.releases import Artefact
from fabfile.plan import Upload
from fabfile.steps import versioned
from tests.unit.steps.conftest import having

HOSTILE = ["1.0;touch RAN;:", "$(touch RAN)", "`touch RAN`", "1 2", "a'b\"c", "*", "%s%n"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_proof_compares_any_text_and_runs_none(tmp_path: Path, text: str) -> None:
    def said(output: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "output").write_text(output)
        script = versioned.says("cat output", text)
        return subprocess.run(["sh", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert said(f"version {text}\n").returncode == 0
    wrong = said("version 0")
    assert (wrong.returncode, wrong.stdout) == (1, f"expected {text}, it printed: version 0\n")
    assert not (tmp_path / "RAN").exists()


def place(directory: Path, key: str, file: Path, unpack: str) -> Path:
    """Install a file with the real script below this directory, and return where it is."""
    source = Artefact("runc", "1", "http://mirror.example/runc", "0" * 64, "runc")
    (change,) = versioned.place(having(), "runc", key, source, unpack)
    assert isinstance(change, Upload)
    (directory / "opt").mkdir()
    script = change.script.replace("/opt", str(directory / "opt"))
    subprocess.run(["sh", "-euc", script, "sh", str(file)], cwd=directory, check=True)
    return directory / "opt" / "runc" / key


@pytest.mark.parametrize("key", HOSTILE)
def test_a_key_is_one_name_whatever_is_in_it(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").write_text("good")
    assert (place(tmp_path, key, tmp_path / "file", 'cp "$1" "$d/runc"') / "runc").read_text() == "good"
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_what_is_unpacked_has_our_modes_and_not_those_of_the_archive(tmp_path: Path, umask: int) -> None:
    made, archive = tmp_path / "made", tmp_path / "archive"
    make = "mkdir -p bin/deep; echo x >bin/run; chmod +x bin/run; echo y >text; ln -s text link; tar -cf ../archive *"
    made.mkdir()
    subprocess.run(["sh", "-euc", make], cwd=made, umask=umask, check=True)
    seen = 'tar -xf "$1" -C "$d" --no-same-owner; stat -c %a "$d" >seen'
    there = place(tmp_path, "key", archive, seen)
    modes = {
        path.name: stat.S_IMODE(path.lstat().st_mode) for path in (there, *there.rglob("*")) if not path.is_symlink()
    }
    assert modes == {"key": 0o755, "bin": 0o755, "deep": 0o755, "run": 0o755, "text": 0o644}
    assert (tmp_path / "seen").read_text() == "700\n"
