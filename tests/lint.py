"""Lint what ruff does not read: shell (plain and rendered), TOML, Jinja. Exits non-zero where one is wrong."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import jinja2

from fabfile.examples import shell_examples

ROOT = Path(__file__).resolve().parent.parent


def tracked() -> list[Path]:
    """The files of the repository, committed or not yet."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def is_shell(path: Path) -> bool:
    """A script by its name or its first line."""
    if path.suffix == ".sh":
        return True
    first = path.open("rb").readline()
    return first.startswith(b"#!") and (b"sh" in first.split(b"/")[-1])


def main() -> int:
    """Check everything; the number of files is printed so that an empty check is seen."""
    files = tracked()
    scripts = [str(path) for path in files if path.suffix != ".j2" and is_shell(path)]
    with tempfile.TemporaryDirectory() as directory:
        for name, text in shell_examples().items():
            path = Path(directory) / f"{name}.sh"
            path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}")
            scripts.append(str(path))
        if subprocess.run(["shellcheck", "--severity=style", *scripts]).returncode:
            return 1
    tomls = [path for path in files if path.suffix == ".toml"]
    for path in tomls:
        tomllib.loads(path.read_text())
    templates = [path for path in files if path.suffix == ".j2"]
    for path in templates:
        jinja2.Environment().parse(path.read_text(), filename=str(path))
    print(f"{len(scripts)} shell scripts, {len(tomls)} TOML files, {len(templates)} templates: no complaint")
    return 0 if scripts and tomls and templates else 1


if __name__ == "__main__":
    sys.exit(main())
