"""SECURITY.md names existing tests, one for each line of its threat model; and no file of ours has a name in /tmp."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from fabfile.paths import REPOSITORY

TEXT = (REPOSITORY / "SECURITY.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
SECTION = re.compile(r"^## (.*)\n((?:(?!^## ).*\n)*)", re.MULTILINE)
MODEL = {name: content for name, content in SECTION.findall(TEXT) if name.startswith("Threats: ")}


@cache
def functions(file: str) -> set[str]:
    """The tests in a file."""
    tree = ast.parse((REPOSITORY / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(TEXT))))
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    assert name.startswith("test_") and name in functions(file)


def rows(section: str) -> list[list[str]]:
    """The lines of a section's table, without its header."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_line_of_the_threat_model_names_the_test_that_guards_it() -> None:
    assert len(MODEL) == 5
    for name, section in MODEL.items():
        table = rows(section)
        assert len(table) >= 4, name
        for what, holds, guards in table:
            assert what and holds and NAMED.search(guards), f"{name}: {what}"
            assert re.sub(r"[ ,;]", "", NAMED.sub("", guards)) == "", f"not FILE::TEST: {guards}"


def test_everybody_of_the_trust_table_has_threats() -> None:
    trusted = {row[0] for row in rows(dict(SECTION.findall(TEXT))["Who is trusted with what"])}
    assert trusted == {"operator", *(name.removeprefix("Threats: ") for name in MODEL)}


OPEN = re.compile(r"/tmp\b|/dev/shm\b")
"""Directories in which every user can create files, links and FIFOs."""

SAFE = {
    "fabfile/remote/target.py": r"(find -H|what is in|mktemp -du?|df -h|make|readlink -f) /var/tmp|^STAGED = ",
    "fabfile/steps/teardown.py": r'"find -H /var/tmp -maxdepth 1 -user root -type d -name .* -exec rm -rf {} \+"',
    "fabfile/lab/kinds/uml.py": r'Path\("/dev/shm"\)|MiB of memory: /dev/shm if it has room',
    "templates/containerd/smoke.sh.j2": r"^# ",
}
"""File → lines that mention one of them without writing to a predictable name."""

OURS = [
    path
    for place in ("fabfile", "templates")
    for path in sorted((REPOSITORY / place).rglob("*"))
    if path.suffix in (".py", ".j2") and (place == "fabfile" or path.relative_to(REPOSITORY / place).parts[0] != "lab")
]


def test_nothing_is_written_under_a_name_in_a_directory_of_everybody() -> None:
    assert len(OURS) > 100
    for path in OURS:
        name = str(path.relative_to(REPOSITORY))
        for line in path.read_text().splitlines():
            if OPEN.search(line) and not ("tmpmounts" in line and "/tmp/" not in line):
                assert re.search(SAFE.get(name, r"(?!)"), line), f"{name}: {line}"


def test_a_temporary_file_of_python_is_in_a_directory_that_nobody_else_may_enter() -> None:
    for path in OURS:
        for call in re.findall(r"tempfile\.(\w+)", path.read_text()):
            assert call == "TemporaryDirectory", path
