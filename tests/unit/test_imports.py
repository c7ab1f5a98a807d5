"""Data flows one way: what a module may import is a matter of its place, and a test of it is cheap."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

import tasks
from fabfile.paths import REPOSITORY

PLANNING = ("fabfile.plan", "fabfile.apply", "fabfile.converge")

LAYERS = (
    "activity",
    "output.host_comparison",
    "output.answer",
    "output.fleet_answers",
    "output.json_document",
    "errors",
    "instance",
    "console",
    "workers",
    "interruption",
    "paths",
    "sizes",
    "remote.target",
    "option",
    "host",
    "inventory",
    "output.outcome",
    "selection",
    "cli.task",
    "cli.commandline",
    "hints",
    "artefacts.releases",
    "artefacts.download",
    "artefacts.source",
)
"""Modules that know nothing of steps, facts or the lab."""

FILES = sorted((REPOSITORY / "fabfile").rglob("*.py"))


@cache
def imports(file: Path) -> frozenset[str]:
    """Every module of ours that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return frozenset(name for name in found if name.split(".")[0] in ("fabfile", "tasks", "tests", "noxfile"))


def test_these_modules_exist() -> None:
    assert set(LAYERS) <= {module(file).removeprefix("fabfile.") for file in FILES}


def module(file: Path) -> str:
    return ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)


@pytest.mark.parametrize("file", FILES, ids=module)
def test_imports_go_one_way(file: Path) -> None:
    name = module(file).removeprefix("fabfile.")
    below = {
        "facts": ("fabfile.steps", "fabfile.lab", "fabfile.cli.fab_executor", "fabfile.artefacts.build", *PLANNING),
        "steps": ("fabfile.lab", "fabfile.cli.fab_executor", "fabfile.ssh"),
        "pool": ("fabfile.steps", "fabfile.lab", "fabfile.cli.fab_executor", "fabfile.ssh"),
        "lab": ("fabfile.steps", "fabfile.cli.fab_executor", "fabfile.facts"),
        "tasks": ("fabfile.cli.fab_executor", "fabfile.cli.inv_executor", "fabfile.ssh", *PLANNING),
        "plan": ("fabfile.apply", "fabfile.converge"),
        "apply": ("fabfile.converge",),
    }
    forbidden: tuple[str, ...] = ("tasks", "tests", "noxfile")
    forbidden += below.get(name.split(".")[0], ())
    if name in LAYERS:
        forbidden += ("fabfile.steps", "fabfile.facts", "fabfile.lab", "fabfile.cli.fab_executor", *PLANNING)
    wrong = {
        found for found in imports(file) if found.startswith(tuple(f"{f}." for f in forbidden)) or found in forbidden
    }
    assert wrong == set()


def room(name: str) -> str:
    """The room that a module is in: below `pool` there are rooms of their own."""
    first, *rest = name.removeprefix("fabfile.").split(".")
    return f"pool.{rest[0]}" if first == "pool" and rest else first


def arrows() -> set[tuple[str, str]]:
    """Which room imports from which."""
    known = {module(file) for file in FILES}
    found = set()
    for file in FILES:
        here = room(module(file).removesuffix(".__init__"))
        found |= {(here, room(name)) for name in imports(file) if name in known or f"{name}.__init__" in known}
    return {(here, there) for here, there in found if here != there and "fabfile" not in (here, there)}


def test_no_room_is_entered_from_above() -> None:
    """Rooms with arrows to each other, directly or around a corner, would be one room."""
    left = arrows()
    while left:
        last = {here for here, _ in left} - {there for _, there in left}
        assert last, f"in a circle: {sorted(left)}"
        left = {(here, there) for here, there in left if here not in last}


def test_the_map_of_pools_names_every_room_once_and_in_order() -> None:
    text = (REPOSITORY / "fabfile/pool/__init__.py").read_text()
    listed = [line.split()[0] for line in text.splitlines()[2:] if line[:1].isalpha()]
    there = {path.stem for path in (REPOSITORY / "fabfile/pool").iterdir() if not path.name.startswith("__")}
    assert sorted(listed) == sorted(there) and len(listed) <= 13
    for here, other in arrows():
        if here.startswith("pool.") and other.startswith("pool."):
            above, below = (listed.index(name.removeprefix("pool.")) for name in (other, here))
            assert above < below, f"{here} imports {other}, which comes later on the map"


def map_of(package: str) -> list[str]:
    """The names in the map in a package's docstring, each of which is followed by what it is."""
    text = ast.get_docstring(ast.parse((REPOSITORY / package / "__init__.py").read_text())) or ""
    return re.findall(r"(?m)^ *(\w+) {2,}\S", text)


PACKAGES = sorted(file.parent for file in FILES if file.name == "__init__.py")


@pytest.mark.parametrize("directory", PACKAGES, ids=lambda directory: str(directory.relative_to(REPOSITORY)))
def test_a_map_names_every_module_once(directory: Path) -> None:
    modules = {path.stem for path in directory.iterdir() if not path.name.startswith("__")}
    assert sorted(map_of(str(directory.relative_to(REPOSITORY)))) == sorted(modules)


def test_only_inv_imports_the_namespace() -> None:
    for file in FILES:
        assert "fabfile.namespace" not in imports(file), file
    assert "fabfile.namespace" in imports(REPOSITORY / "tasks.py")


def test_a_task_stands_in_its_namespace_and_is_one_call() -> None:
    """Nothing else is in these modules but imports and the declarations of options."""
    for file in FILES:
        tree = ast.parse(file.read_text())
        found = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and _is_task(each)]
        if file.parent.name != "tasks":
            assert found == [], file
            continue
        for each in found:
            help_text, *work = each.body
            assert isinstance(help_text, ast.Expr) and isinstance(help_text.value, ast.Constant), each.name
            assert [type(one.value) for one in work if isinstance(one, ast.Expr)] == [ast.Call], each.name
        others = {type(each) for each in tree.body if each not in found}
        assert others <= {ast.Expr, ast.Import, ast.ImportFrom, ast.Assign}, file
    assert {each.stem for each in FILES if each.parent.name == "tasks"} - {"__init__", "root"} == {
        *tasks.ns.collections
    }


def _is_task(function: ast.FunctionDef) -> bool:
    names = [each.func if isinstance(each, ast.Call) else each for each in function.decorator_list]
    return "task" in [each.id for each in names if isinstance(each, ast.Name)]


def test_only_inv_loads_the_lab() -> None:
    """It would cost fab the time to start."""
    for file in FILES:
        of_lab = {name for name in imports(file) if name.startswith(("fabfile.lab", "fabfile.tasks.lab"))}
        assert not of_lab or module(file).startswith(("fabfile.lab.", "fabfile.tasks.lab")), file


@cache
def imports_at_start(file: Path) -> frozenset[str]:
    """Every module of ours that is imported together with a file."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return frozenset(name for name in found if name.startswith("fabfile"))


def test_fab_starts_without_the_steps_of_its_tasks() -> None:
    """Importing them would take longer than parsing the command line; a task imports its own."""
    files = {module(file).removesuffix(".__init__"): file for file in FILES}
    left, loaded = {"fabfile"}, set()
    while left:
        name = left.pop()
        loaded.add(name)
        left |= (imports_at_start(files[name]) & files.keys()) - loaded
    assert "fabfile.tasks.pool" in loaded
    assert {name for name in loaded if name.startswith(("fabfile.steps.", "fabfile.facts", "fabfile.pool."))} == set()


def test_no_module_shadows_the_standard_library() -> None:
    names = {file.stem for file in (REPOSITORY / "fabfile").glob("*.py")} | {
        folder.name for folder in (REPOSITORY / "fabfile").iterdir() if folder.is_dir()
    }
    assert not names & set(sys.stdlib_module_names)
