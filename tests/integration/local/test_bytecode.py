"""inv compiles our modules once, not at every start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fabfile.paths import REPOSITORY


def compiled(checkout: Path, *options: str, umask: int = 0o022) -> set[str]:
    """The compiled files that `inv --list` leaves in a checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    inv = Path(sys.executable).with_name("inv")
    subprocess.run(
        [sys.executable, *options, inv, "--list"],
        cwd=checkout, env=environment, stdout=subprocess.DEVNULL, umask=umask, check=True,
    )  # fmt: skip
    return {file.name.partition(".")[0] for file in checkout.rglob("*.pyc")}


def test_compiled_modules_are_kept(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "fabfile", tmp_path / "fabfile", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "tasks.py", tmp_path)
    assert not compiled(tmp_path, "-B")
    assert {"commandline", "inventory", "task"} <= compiled(tmp_path)


def test_others_cannot_write_to_what_is_created_whatever_the_umask(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "fabfile", tmp_path / "fabfile", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "tasks.py", tmp_path)
    assert "commandline" in compiled(tmp_path, umask=0)
    assert [path for path in tmp_path.rglob("*") if path.stat().st_mode & 0o022] == []
