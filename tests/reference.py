"""The generated parts of the docs, options and fields of the JSON document: `python -m tests.reference` writes them.

The meaning of a field of the document is edited in docs/json.md, and kept; for a new field, it starts as the docstring
of the field in the code.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from invoke import Collection

import tasks
from fabfile import plan
from fabfile.cli.task import Task
from fabfile.host import Host, Pool
from fabfile.option import Option, options
from fabfile.output import outcome
from fabfile.paths import REPOSITORY

HOSTS, JSON = REPOSITORY / "docs/hosts.md", REPOSITORY / "docs/json.md"
MARK = "<!-- from here on written by python -m tests.reference; the meanings of fields are kept -->\n"
NAMES = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "any", type(None): "null"}


def all_tasks(of: Collection = tasks.ns, before: str = "") -> dict[str, Task]:
    """Map the full name of every task to it."""
    found = {f"{before}{name}": task for name, task in of.tasks.items() if isinstance(task, Task)}
    for name, inner in of.collections.items():
        found |= all_tasks(inner, f"{before}{name}.")
    return dict(sorted(found.items()))


def structs() -> list[type[msgspec.Struct]]:
    """List every struct that can be in the document, in the order in which a reader meets them."""
    found: dict[type[msgspec.Struct], None] = {}

    def walk(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
            found[kind] = None
            for field in msgspec.structs.fields(kind):
                walk(field.type)
        for inner in get_args(kind):
            walk(inner)

    for kind in (outcome.FleetReport, outcome.Report, plan.Command, plan.File, plan.Upload):
        walk(kind)
    for task in all_tasks().values():
        walk(task.answers)
    return list(found)


def name(kind: type) -> str:
    """Return the name of a struct in the docs, qualified by its module."""
    room, *rest = kind.__module__.removeprefix("fabfile.").removeprefix("steps.").removeprefix("output.").split(".")
    module = ".".join([room, *(rest[-1:] if room == "pool" else rest)])  # its rooms are nobody's business outside
    return f"{module}.{kind.__name__}"


def show(kind: Any) -> str:
    """Return the name of a type in JSON terms."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return show(inner[0])
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in inner)
    if origin in (Union, UnionType):
        return " or ".join(map(show, inner))
    if origin is dict:
        return f"object: {show(inner[1])}"
    if origin is tuple and Ellipsis not in inner:
        return f"array of {len(inner)}: {show(inner[0])}"
    if origin in (list, tuple, frozenset):
        return f"array: {show(inner[0])}"
    if kind in NAMES:
        return NAMES[kind]
    return f"[{name(kind)}](#{name(kind).replace('.', '').lower()})"


def docstrings(kind: type) -> dict[str, str]:
    """Return the docstrings of a struct's fields."""
    (cls,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(cls, ast.ClassDef)
    found = {}
    for field, text in pairwise(cls.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def meanings(text: str) -> dict[tuple[str, str], str]:
    """Map (struct, field) to the meaning in the docs."""
    found, struct = {}, ""
    for line in text.splitlines():
        if line.startswith("### "):
            struct = line.removeprefix("### ")
        elif row := re.fullmatch(r"\| `(\w+)` \| .*? \| (.*) \|", line):
            found[struct, row[1]] = row[2]
    return found


def json_tables(known: dict[tuple[str, str], str]) -> Iterator[str]:
    """Yield the lines of docs/json.md below its mark."""
    yield from ("", "## Results of tasks", "", "| task | `result` |", "|---|---|")
    for task, each in all_tasks().items():
        if "json" in each.options:
            yield f"| `{task}` | {show(each.answers) if each.answers else 'null'} |"
    yield from ("", "## Fields", "")
    for kind in structs():
        texts = docstrings(kind)
        yield from (f"### {name(kind)}", "", (kind.__doc__ or "").splitlines()[0], "")
        yield from ("| field | type | meaning |", "|---|---|---|")
        if tag := kind.__struct_config__.tag:
            yield f"| `type` | `{tag}` | which kind of change it is |"
        for field in msgspec.structs.fields(kind):
            meaning = known.get((name(kind), field.encode_name)) or texts.get(field.name, "")
            yield f"| `{field.encode_name}` | {show(field.type)} | {meaning} |"
        yield ""


def json_page(text: str) -> str:
    """Return docs/json.md with regenerated tables."""
    head = text.partition(MARK)[0]
    return head + MARK + "\n".join(json_tables(meanings(text))).rstrip() + "\n"


def hosts_page(text: str) -> str:
    """Return docs/hosts.md with regenerated tables."""
    head = text.partition(MARK)[0]
    flags: dict[str, list[str]] = {}
    for task, each in all_tasks().items():
        for option in each.options.values():
            if option.setting:
                flags.setdefault(option.name, []).append(f"`{task}`")
    lines = [""]
    for title, kind in (("[hosts.NAME] and [defaults]", Host), ("[hosts.NAME.pool] and [defaults.pool]", Pool)):
        lines += [f"## {title}", "", "| key | meaning | values | default | flag of |", "|---|---|---|---|---|"]
        for option in options(kind).values():
            lines.append(_row(option, flags.get(option.name, [])))
        lines.append("")
    return head + MARK + "\n".join(lines).rstrip() + "\n"


def _row(option: Option, tasks: list[str]) -> str:
    kind = {list: "array of text", str: "text", int: "integer"}[option.kind]
    shown = {"": "", (): "none"}.get(option.default, f"`{option.default}`")
    where = f"`{option.flag}`: {', '.join(tasks)}" if tasks else ""
    return f"| `{option.name}` | {option.meaning} | {option.limits or option.unit or kind} | {shown} | {where} |"


def main() -> None:
    """Write both pages."""
    for file, page in ((HOSTS, hosts_page), (JSON, json_page)):
        file.write_text(page(file.read_text()))
    for key, meaning in meanings(JSON.read_text()).items():
        if not meaning:
            print("no meaning yet:", *key)


if __name__ == "__main__":
    main()
