"""A YAML inventory that somebody else wrote: bounded, never constructed, each mistake with its line."""

from __future__ import annotations

import pytest

from fabfile.errors import Refused
from fabfile.exchange import ansible_yaml
from tests.unit import cost


def laughs(levels: int = 30, width: int = 10) -> str:
    """Few lines that stand for 10^30 hosts."""
    lines = ["x0: &x0 {hosts: {a: }}"]
    for level in range(1, levels):
        inner = ", ".join(f"g{number}: *x{level - 1}" for number in range(width))
        lines.append(f"x{level}: &x{level} {{children: {{{inner}}}}}")
    return "\n".join(lines)


def merges(levels: int = 30) -> str:
    """The same by merging."""
    lines = ["x0: &x0 {hosts: {a: }}"]
    lines += [f"x{level}: &x{level} {{<<: [{', '.join([f'*x{level - 1}'] * 10)}]}}" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [laughs(), merges()], ids=["aliases", "merges"])
def test_aliases_that_stand_for_very_much_are_refused_soon(text: str) -> None:
    with cost.at_most(30), pytest.raises(Refused, match="the inventory is too large"):
        ansible_yaml.read(text, "f")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "f has no groups"),
        ("null", "f has no groups"),
        ("- a", "f, line 1: the inventory is not a table"),
        ("a: [b", "f is not YAML"),
        ("a: 1\n---\nb: 2", "f is not YAML"),
        ("a: \x00", "f is not YAML"),
        ("a: *b", "f is not YAML"),
        ("plugin: aws_ec2", "f is the configuration of a plugin"),
        ("all:\n  hosts:\n  - a", "f, line 3: hosts of all is not a table"),
        ("all:\n  hosts:\n    a: [1]", "f, line 3: the host a is not a table"),
        ("all:\n  ? [a]\n  : b", "f, line 2: a key is not a word"),
        ("all:\n  hosts:\n    'a[': ", "f, line 3: 'a[' is not a host"),
        ("a: &a {children: {a: *a}}", "f, line 1: more than 50 groups are within each other"),
        ("a: &a {<<: *a}", "f is not YAML"),
        ("a: " + "{b: " * 5000, "f is not YAML"),
        ("a: " + "[" * 100_000, "f is not YAML"),
    ],
)
def test_a_mistake_is_refused(text: str, what: str) -> None:
    with pytest.raises(Refused) as refused:
        ansible_yaml.read(text, "f")
    assert refused.value.what.startswith(what)


def test_no_tag_makes_an_object() -> None:
    source = ansible_yaml.read("all: {hosts: {a: {x: !!python/object/apply:os.system [exit 1], y: !vault z}}}", "f")
    assert {name: value.why for name, value in source.hosts["a"].items()} == {
        "x": "not a plain value", "y": "encrypted by Ansible Vault",
    }  # fmt: skip


def test_what_is_no_part_of_a_group_is_listed_with_its_line() -> None:
    source = ansible_yaml.read("all:\n  hosts: a\n  host: b\n", "f")
    assert [(left.line, left.name) for left in source.left] == [(3, "host")]
    assert list(source.hosts) == ["a"]
