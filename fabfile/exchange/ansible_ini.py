"""Read an Ansible inventory in INI format, as its plugin ansible.builtin.ini does."""

from __future__ import annotations

import ast
import re
import shlex

from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.exchange.ansible import PLAIN, UNGROUPED, AnsibleInventory, Value

SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?")

LITERAL = re.compile(r"""['"]|[+-]?[0-9]""")
"""Begin of a text or number in Python."""

KINDS = ("hosts", "children", "vars")


def read(text: str, file: str) -> AnsibleInventory:
    """Parse the text of an inventory.

    Args:
        text: content of the file.
        file: name of the file, for errors.

    Raises:
        Refused: a line is invalid; Ansible would reject it as well.
    """
    source, group, kind = AnsibleInventory(file), UNGROUPED, "hosts"
    needed: dict[str, int] = {}
    declared = {UNGROUPED, "all"}
    for number, line in enumerate((line.strip() for line in text.splitlines()), 1):
        where = f"{file}, line {number}"
        if not line or line[0] in "#;":
            continue
        if section := SECTION.fullmatch(line):
            group, kind = section[1], section[2] or "hosts"
            if kind not in KINDS:
                raise Refused(f"{where}: a section of an unknown kind: {shown(line)}", f"known: {', '.join(KINDS)}")
            source.group(group)
            if kind == "vars":
                needed.setdefault(group, number)
            else:
                declared.add(group)
        elif line.startswith("[") and line.endswith("]") and " " in line:
            raise Refused(f"{where}: {shown(line)} is not a section", "such as [web], [web:vars] or [all:children]")
        elif kind == "hosts":
            _add_hosts(source, group, line, number)
        elif kind == "vars":
            name, value = _pair(re.sub(r"\s*=\s*", "=", line, count=1), number, where)
            source.group(group).variables[name] = value
        else:
            child = line.split("#")[0].strip()
            source.group(group).children[child] = None
            source.group(child)
            needed.setdefault(child, number)
    for group, number in needed.items():
        if group not in declared:
            raise Refused(f"{file}, line {number}: there is no group {shown(group)}", f"no section [{group}]")
    return source


def _add_hosts(source: AnsibleInventory, group: str, line: str, number: int) -> None:
    """Add the hosts of a line such as `www[01:50].example.com ansible_user=admin`."""
    where = f"{source.file}, line {number}"
    try:
        pattern, *words = shlex.split(line, comments=True)
    except ValueError as error:
        raise Refused(f"{where}: {shown(line)} cannot be split into words", str(error)) from error
    if pattern == "---" or pattern.endswith(":"):
        raise Refused(f"{where}: {shown(pattern)} is not a host", "is this YAML? then call the file .yml")
    pairs = dict(_pair(word, number, where) for word in words)
    for variables in source.add_hosts(group, pattern, number):
        variables.update(pairs)


def _pair(text: str, number: int, where: str) -> tuple[str, Value]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise Refused(f"{where}: {shown(text)} is not a variable", "NAME=VALUE")
    return name.strip(), _value(value, number)


def _value(text: str, number: int) -> Value:
    """Parse a value, which Ansible reads as a Python literal if possible: a comment after one is no part of it."""
    if LITERAL.match(text):
        try:
            found = ast.literal_eval(text)
            return Value(str(found), number, "" if isinstance(found, (str, int, float)) else PLAIN)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return Value(text, number)  # Ansible takes the text as it is, too
    return Value(text, number, PLAIN if text[:1] in ("{", "[", "(") and text[:2] != "{{" else "")
