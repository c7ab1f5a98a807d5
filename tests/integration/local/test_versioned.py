"""The script that installs a version, run by a shell with values that contain shell syntax."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fabfile.plan import Upload
from fabfile.releases import Artefact
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


@pytest.mark.parametrize("key", HOSTILE)
def test_a_key_is_one_name_whatever_is_in_it(tmp_path: Path, key: str) -> None:
    source = Artefact("runc", "1", "http://mirror.example/runc", "0" * 64, "runc")
    (change,) = versioned.place(having(), "runc", key, source, 'cp "$1" "$d/runc"')
    assert isinstance(change, Upload)
    (tmp_path / "opt").mkdir()
    (tmp_path / "file").write_text("good")
    script = change.script.replace("/opt", str(tmp_path / "opt"))
    subprocess.run(["sh", "-euc", script, "sh", str(tmp_path / "file")], cwd=tmp_path, check=True)
    assert (tmp_path / "opt" / "runc" / key / "runc").read_text() == "good"
    assert not (tmp_path / "RAN").exists()
