"""What an inventory says is what Ansible says of it: records/*.json are from ansible-inventory --list, version 2.19."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fabfile.errors import Refused
from fabfile.exchange import importing
from fabfile.exchange.ansible import AnsibleInventory, expand
from fabfile.exchange.translation import KEYS

RECORDS = Path(__file__).with_name("records")
FILES = [file for file in sorted(RECORDS.iterdir()) if file.suffix != ".json"]


def recorded(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.with_suffix(".json").read_text())
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_host_gets_the_variables_that_ansible_gives_it(file: Path) -> None:
    theirs = recorded(file)["_meta"]["hostvars"]
    ours = {host: variables for host, variables in importing.read(file).effective().items() if variables}
    assert {host: sorted(variables) for host, variables in ours.items()} == {
        host: sorted(variables) for host, variables in theirs.items()
    }
    connection = {
        host: {name: str(value) for name, value in variables.items() if name in KEYS}
        for host, variables in theirs.items()
    }
    assert {
        host: {name: value.text for name, value in variables.items() if name in KEYS}
        for host, variables in ours.items()
    } == connection
    assert any(connection.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_group_has_the_members_that_ansible_gives_it(file: Path) -> None:
    theirs = {name: group for name, group in recorded(file).items() if name not in ("_meta", "all", "ungrouped")}
    ours = {name: group for name, group in importing.read(file).groups.items() if name not in ("all", "ungrouped")}
    shown = {
        name: {
            key: sorted(members) for key, members in (("hosts", group.hosts), ("children", group.children)) if members
        }
        for name, group in ours.items()
    }
    assert {name: members for name, members in shown.items() if members} == {
        name: {key: sorted(members) for key, members in group.items()} for name, group in theirs.items() if group
    }


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a", ["a"]),
        ("a[1:3]", ["a1", "a2", "a3"]),
        ("a[08:10]b", ["a08b", "a09b", "a10b"]),
        ("a[:2]", ["a0", "a1", "a2"]),
        ("[a:c][0:1]", ["a0", "a1", "b0", "b1", "c0", "c1"]),
        ("[1:9:4]", ["1", "5", "9"]),
        ("[A:E:2]", ["A", "C", "E"]),
    ],
)
def test_ranges(pattern: str, names: list[str]) -> None:
    assert expand(pattern, "here") == names


@pytest.mark.parametrize(
    "pattern",
    ["", "a[", "a]", "a[1]", "a[1:]", "a[1-3]", "[3:1]", "[c:a]", "[1:3:0]", "[a:3]", "[1:99999]", "[1:200][1:200]",
     "[1:2:3:4]", "[aa:bb]", "[0:" + "9" * 40 + "]", "[1:2", "a[1:2]]", "[²:³]"],
)  # fmt: skip
def test_what_is_no_range_is_refused(pattern: str) -> None:
    with pytest.raises(Refused, match=r"^error: here: "):
        expand(pattern, "here")


def test_all_hosts_together_are_bounded() -> None:
    source = AnsibleInventory("f")
    source.add_hosts("a", "a[1:20000]", 1)
    with pytest.raises(Refused, match="f, line 2: too many hosts"):
        source.add_hosts("a", "b", 2)


def test_a_group_within_itself_is_refused() -> None:
    source = AnsibleInventory("f")
    for name, child in (("a", "b"), ("b", "c"), ("c", "a")):
        source.group(name).children[child] = None
    with pytest.raises(Refused, match="is within itself"):
        source.effective()
