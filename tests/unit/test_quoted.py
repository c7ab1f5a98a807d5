"""The pages quote the program exactly: errors in docs/troubleshooting.md are in the code, and paths exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from fabfile.paths import REPOSITORY
from tests.unit.test_documents import PAGES

TROUBLES = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
QUOTED = re.findall(r"^\| `([^`]+)`", TROUBLES, re.MULTILINE)


@cache
def literals() -> list[list[str]]:
    """List every string in the code, as the parts between its values."""
    found = []
    for path in sorted((REPOSITORY / "fabfile").rglob("*.py")):
        tree = ast.parse(path.read_text())
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                found.append(list(_parts(node)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                found.append([node.value])
    return found


def _parts(node: ast.JoinedStr) -> Iterator[str]:
    before = ""
    for value in node.values:
        if isinstance(value, ast.Constant):
            before += str(value.value)
        else:
            yield before
            before = ""
    yield before


def in_the_code(message: str) -> bool:
    """Whether a string in the code can be this message, with capitals for its values."""
    said = re.split(r"\b[A-Z]{3,}\b", message)
    return any(parts == said for parts in literals())


def test_what_is_no_message_is_not_found() -> None:
    assert in_the_code("the smoke test failed") and in_the_code("the pool NAME is down")
    assert not in_the_code("the smoke test did not pass") and not in_the_code("the pool NAME is lost")


@pytest.mark.parametrize("message", QUOTED)
def test_an_error_in_troubleshooting_is_in_the_code(message: str) -> None:
    assert in_the_code(message)


def test_the_errors_are_many_and_each_is_there_once() -> None:
    assert len(QUOTED) >= 25 and len(set(QUOTED)) == len(QUOTED)


PATH = re.compile(r"`((?:fabfile|templates|tests|docs|bench)/[\w./-]*\w/?)(?:::\w+)?`")


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "fabfile/pool/__init__.py"], ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page: Path) -> None:
    named = [path for path in PATH.findall(page.read_text()) if "swap" not in path]  # the worked example's own
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([\w-]+))?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for file, anchor in LINK.findall(page.read_text()):
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not anchor or anchor in _anchors(target.read_text()), f"{file}#{anchor}"


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_worked_fact_works() -> None:
    """The module is the one in docs/development.md."""
    from fabfile.facts.query import Query

    text = (REPOSITORY / "docs" / "development.md").read_text()
    (block,) = re.findall(r'^ {7}("""How much swap.*?\* 1024)$', text, re.MULTILINE | re.DOTALL)
    module: dict[str, object] = {}
    exec(re.sub(r"^ {7}", "", block, flags=re.MULTILINE), module)
    fragment, parse = module["fragment"], module["parse"]
    assert callable(fragment) and callable(parse)
    assert "/proc/swaps" in fragment(Query())
    assert (parse(""), parse("1048572\n")) == (0, 1073737728)
