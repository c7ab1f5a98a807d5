"""Ansible's words become those of hosts.toml; what has no place there is listed by name and line, never by value."""

from __future__ import annotations

from typing import Any

import pytest

from fabfile.errors import Refused
from fabfile.exchange import ansible_ini
from fabfile.exchange.translation import Tables, translated


def tables(*lines: str) -> Tables:
    return translated(ansible_ini.read("\n".join(lines), "f"))


def listed(*lines: str) -> list[tuple[int, str]]:
    return [(left.line, left.name) for left in tables(*lines).left if left.name != "ansible_user"]


@pytest.mark.parametrize(
    ("line", "table"),
    [
        ("a", {}),
        ("a ansible_host=a", {}),
        ("a ansible_host=b ansible_port=7 ansible_user=me", {"address": "b", "port": 7, "user": "me"}),
        ("a:2222", {"port": 2222}),
        ("a ansible_ssh_host=b ansible_ssh_port=7 ansible_ssh_user=me", {"address": "b", "port": 7, "user": "me"}),
        ("a ansible_private_key_file=~/k", {"identity_file": "~/k"}),
        ("a ansible_ssh_private_key_file=~/k ansible_ssh_timeout=5", {"identity_file": "~/k", "connect_timeout": 5}),
        ("a ansible_ssh_common_args='-o UserKnownHostsFile=/k'", {"known_hosts": "/k"}),
        ("a ansible_connection=ssh", {}),
    ],
)  # fmt: skip
def test_a_host(line: str, table: dict[str, Any]) -> None:
    found = tables(line)
    assert found.hosts == {"a": table}
    assert [left.name for left in found.left] == ([] if "user" in table else ["ansible_user"])


def test_what_is_set_for_all_are_the_defaults_and_a_host_may_differ() -> None:
    found = tables("[a]", "b", "c ansible_user=root", "[all:vars]", "ansible_user=me", "ansible_port=2222")
    assert found.defaults == {"user": "me", "port": 2222}
    assert found.hosts == {"b": {}, "c": {"user": "root"}}


@pytest.mark.parametrize(
    "wrong", ["ansible_port=x", "ansible_port=0", "ansible_port=70000", "ansible_user=a:b", "ansible_host=a/b"]
)
def test_a_value_that_cannot_be_is_refused_with_its_line(wrong: str) -> None:
    with pytest.raises(Refused, match=f"^error: f, line 2: {wrong.partition('=')[0]}: "):
        tables("[a]", f"b {wrong}")


def test_what_has_no_place_is_listed_and_no_value_of_it_is_shown() -> None:
    lines = (
        "a http_port=hunter2 ansible_password=hunter2",
        "b ansible_user='{{ hunter2 }}' ansible_ssh_extra_args='-o ControlPath=/hunter2'",
        "[ungrouped:vars]",
        "ansible_become=hunter2",
        "ansible_python_interpreter=/hunter2",
        'ansible_ssh_common_args="-o \'hunter2"',
        "ansible_new=['hunter2']",
    )
    assert listed(*lines) == [
        (1, "ansible_password"), (1, "http_port"), (2, "ansible_ssh_extra_args"), (4, "ansible_become"),
        (5, "ansible_python_interpreter"), (6, "ansible_ssh_common_args"), (7, "ansible_new"),
    ]  # fmt: skip
    assert "hunter2" not in str([left.why for left in tables(*lines).left])
    assert (2, "ansible_user") in [(left.line, left.name) for left in tables(*lines).left]


def test_a_value_that_cannot_be_used_still_hides_those_of_groups() -> None:
    found = tables("[a]", "b ansible_user='{{ x }}'", "[a:vars]", "ansible_user=wrong")
    assert found.hosts == {"b": {}}


def test_a_host_that_is_not_reached_by_ssh_is_left_out_of_its_groups_too() -> None:
    found = tables("[a]", "localhost ansible_connection=local", "b")
    assert (found.hosts, found.groups) == ({"b": {}}, {"a": ["b"]})
    assert (2, "localhost") in [(left.line, left.name) for left in found.left]


def test_two_names_of_one_machine_become_one_host() -> None:
    lines = ("[a]", "one ansible_host=192.0.2.1", "[b]", "two ansible_host=192.0.2.1", "three ansible_host=192.0.2.1:")
    found = tables(*lines[:-1], "three ansible_host=192.0.2.1 ansible_port=2")
    assert found.hosts == {"one": {"address": "192.0.2.1"}, "three": {"address": "192.0.2.1", "port": 2}}
    assert found.groups == {"a": ["one"], "b": ["one", "three"]}
    assert (0, "two") in [(left.line, left.name) for left in found.left]


def test_names_that_hosts_toml_cannot_have_are_changed_and_listed() -> None:
    found = tables("2001:db8::1", "[hosts]", "b", "[b]", "b", "[c,d]", "b")
    assert found.hosts == {"2001-db8-1": {"address": "2001:db8::1"}, "b": {}}
    assert found.groups == {"hosts-2": ["b"], "b-2": ["b"], "c-d": ["b"]}
    assert {left.name for left in found.left if left.line == 0} == {"2001:db8::1", "hosts", "b", "c,d", "ansible_user"}


@pytest.mark.parametrize(
    ("jump", "gateway"),
    [
        ("-J gw", {}),
        ("-o ProxyJump=me@192.0.2.9:2222", {}),
        ("-o ProxyCommand='ssh -W %h:%p -q -p 2222 192.0.2.9'", {}),
        ("-J other", {"other": {}}),
        ("-J you@other:7", {"other": {"user": "you", "port": 7}}),
        ("-J first,you@second", {"second": {"user": "you", "gateway": "first"}, "first": {}}),
    ],
)
def test_jump_hosts_become_gateways(jump: str, gateway: dict[str, Any]) -> None:
    options = f'ansible_ssh_common_args="{jump}"'
    found = tables("gw ansible_host=192.0.2.9 ansible_port=2222 ansible_user=me", f"a {options}", f"b {options}")
    last = next(iter(gateway), "gw")
    gw = {"address": "192.0.2.9", "port": 2222, "user": "me"}
    assert found.hosts == {"gw": gw, "a": {"gateway": last}, "b": {"gateway": last}, **gateway}


def test_a_jump_host_is_one_host_by_its_name_and_by_its_address() -> None:
    found = tables(
        "gw1 ansible_host=192.0.2.4", 'gw2 ansible_host=192.0.2.5 ansible_ssh_common_args="-J 192.0.2.4"',
        'in2 ansible_ssh_common_args="-J gw1,gw2"', 'in3 ansible_ssh_common_args="-J gw1:22,192.0.2.5"',
    )  # fmt: skip
    assert {name: table.get("gateway") for name, table in found.hosts.items()} == {
        "gw1": None, "gw2": "gw1", "in2": "gw2", "in3": "gw2",
    }  # fmt: skip


def test_a_comment_after_a_value_is_no_part_of_it() -> None:
    lines = ("[db]", "a", "[db:vars]", "ansible_port = 2022 # ssh port", "ansible_user='me' # 'x'")
    assert tables(*lines).hosts == {"a": {"port": 2022, "user": "me"}}


def test_a_jump_host_is_not_its_own_and_needs_one_user() -> None:
    found = tables(
        "gw ansible_host=192.0.2.9 ansible_user=me", "a", "[all:vars]", "ansible_ssh_common_args=-J you@192.0.2.9"
    )
    assert found.hosts == {"gw": {"address": "192.0.2.9", "user": "me"}, "a": {"gateway": "gw"}}
    assert [left.name for left in found.left] == ["gw", "you@192.0.2.9"]


@pytest.mark.parametrize(
    ("jump", "gateway"),
    [
        ("jump@bastion", {"bastion": {"user": "jump"}}),
        ("jump@first,ops@second:7", {"second": {"port": 7, "gateway": "first"}, "first": {"user": "jump"}}),
        ("bastion", {"bastion": {}}),
    ],
)
def test_a_jump_host_that_is_added_keeps_its_user_and_not_that_of_all(jump: str, gateway: dict[str, Any]) -> None:
    found = tables("a", "[all:vars]", "ansible_user=ops", f"ansible_ssh_common_args=-o ProxyJump={jump}")
    assert found.hosts == {"a": {"gateway": next(iter(gateway))}, **gateway}
    assert {left.name for left in found.left} == gateway.keys()


def test_common_arguments_come_before_extra_ones_as_in_the_command_that_ansible_runs() -> None:
    line = "a ansible_ssh_extra_args='-o ProxyJump=b -o UserKnownHostsFile=/b' ansible_ssh_common_args='-o ProxyJump=c'"
    assert tables(line).hosts == {"a": {"gateway": "c", "known_hosts": "/b"}, "c": {}}


def test_hosts_without_a_group_are_members_where_their_group_is() -> None:
    found = tables("a", "[b:children]", "ungrouped")
    assert found.groups == {"b": ["a"]}
