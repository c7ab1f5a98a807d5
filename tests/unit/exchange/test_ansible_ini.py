"""Lines of an INI inventory: each mistake is refused with its line."""

from __future__ import annotations

import pytest

from fabfile.errors import Refused
from fabfile.exchange import ansible_ini


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("\n[a:b]\n", "f, line 2: a section of an unknown kind: '[a:b]'"),
        ("[a b]\n", "f, line 1: '[a b]' is not a section"),
        ("a b\n", "f, line 1: 'b' is not a variable"),
        ("a =b\n", "f, line 1: '=b' is not a variable"),
        ("[a]\n[a:vars]\n\nb\n", "f, line 4: 'b' is not a variable"),
        ("a b='c\n", """f, line 1: "a b='c" cannot be split into words"""),
        ("[a:children]\nb\n", "f, line 2: there is no group 'b'"),
        ("[a:vars]\nb=c\n", "f, line 1: there is no group 'a'"),
        ("a[1:\n", "f, line 1: 'a[1:' is not a host"),
        ("a:\n", "f, line 1: 'a:' is not a host"),
        ("---\nall:\n", "f, line 1: '---' is not a host"),
    ],
)
def test_a_mistake_is_refused_with_its_line(text: str, what: str) -> None:
    with pytest.raises(Refused) as refused:
        ansible_ini.read(text, "f")
    assert refused.value.what.startswith(what)


@pytest.mark.parametrize(
    "value",
    [
        "[" * 100_000,
        "'" + "[" * 100_000,
        "{'a': 1}",
        "'\\ud800'",
        "'''",
        "\"a'",
        "1+" * 50_000 + "1",
        "9" * 9000,
        "1,2",
    ],
)
def test_a_strange_value_does_no_harm(value: str) -> None:
    (variables,) = ansible_ini.read(f"a\n[ungrouped:vars]\nb={value}\n", "f").groups.values()
    assert variables.variables["b"].text


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("2022 # ssh port", "2022"), ("-1", "-1"), ("0x10", "16"), ("007", "007"), ("192.0.2.1", "192.0.2.1"),
        ("'a # b' # c", "a # b"), ("me # no literal", "me # no literal"), ("5m", "5m"), ("1.5 #", "1.5"),
    ],
)  # fmt: skip
def test_a_value_is_read_as_ansible_reads_it(value: str, read: str) -> None:
    (variables,) = ansible_ini.read(f"a\n[ungrouped:vars]\nb={value}\n", "f").groups.values()
    assert (variables.variables["b"].text, variables.variables["b"].why) == (read, "")


def test_a_child_may_be_declared_later() -> None:
    source = ansible_ini.read("[a:children]\nb\n[b]\nc\n", "f")
    assert list(source.groups["a"].children) == ["b"]
    assert list(source.hosts) == ["c"]
