"""Data flows one way: what a module may import is a matter of its place, and a test of it is cheap."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from fabfile.paths import REPOSITORY

PLANNING = ("fabfile.plan", "fabfile.apply", "fabfile.converge")

LAYERS = (
    "errors",
    "daemon",
    "console",
    "paths",
    "plain",
    "sizes",
    "target",
    "option",
    "host",
    "inventory",
    "outcome",
    "task",
    "commandline",
    "hints",
    "releases",
    "download",
    "source",
)
"""Modules that know nothing of steps, facts or the lab."""

FILES = sorted((REPOSITORY / "fabfile").rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Every module of ours that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.split(".")[0] in ("fabfile", "tasks", "tests", "noxfile")}


def module(file: Path) -> str:
    return ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)


@pytest.mark.parametrize("file", FILES, ids=module)
def test_imports_go_one_way(file: Path) -> None:
    name = module(file).removeprefix("fabfile.")
    below = {
        "facts": ("fabfile.steps", "fabfile.lab", "fabfile.fleet", "fabfile.build", *PLANNING),
        "steps": ("fabfile.lab", "fabfile.fleet", "fabfile.ssh"),
        "lab": ("fabfile.steps", "fabfile.fleet", "fabfile.facts"),
        "plan": ("fabfile.apply", "fabfile.converge"),
        "apply": ("fabfile.converge",),
    }
    forbidden: tuple[str, ...] = ("tasks", "tests", "noxfile")
    forbidden += below.get(name.split(".")[0], ())
    if name in LAYERS:
        forbidden += ("fabfile.steps", "fabfile.facts", "fabfile.lab", "fabfile.fleet", *PLANNING)
    wrong = {
        found for found in imports(file) if found.startswith(tuple(f"{f}." for f in forbidden)) or found in forbidden
    }
    assert wrong == set()


def test_nothing_imports_the_door() -> None:
    for file in FILES:
        assert "fabfile.namespace" not in imports(file), file
    assert "fabfile.namespace" in imports(REPOSITORY / "tasks.py")


def test_no_module_shadows_the_standard_library() -> None:
    names = {file.stem for file in (REPOSITORY / "fabfile").glob("*.py")} | {
        folder.name for folder in (REPOSITORY / "fabfile").iterdir() if folder.is_dir()
    }
    assert not names & set(sys.stdlib_module_names)
