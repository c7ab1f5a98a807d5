"""Where each value of a host comes from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from invoke import Context

from fabfile import inventory, paths
from fabfile.steps.origin import settings, show_settings

FLEET = """
[defaults]
user = "admin"
[defaults.pool]
size = "200G"
[hosts.a]
port = 2222
pool = { percent = 10 }
[hosts.b]
address = "192.0.2.2"
instance = "two"
[hosts."web[01-03]"]
labels = ["env=prod"]
port = 2200
[hosts.web02]
port = 2202
[hosts.web02.pool]
percent = 5
[hosts."c.example"]
user = "c"
"""


def sources(typed: str, **changes: Any) -> dict[str, tuple[Any, str]]:
    """Map each key of a host to its value and source."""
    paths.inventory().write_text(FLEET)
    known = inventory.load()
    (host,) = known.resolve([typed])
    return {each.key: (each.value, each.source) for each in settings(msgspec.structs.replace(host, **changes), known)}


def test_each_value_has_its_source() -> None:
    found = sources("a")
    assert found["port"] == (2222, "hosts.a")
    assert found["user"] == ("admin", "defaults")
    assert found["address"] == ("a", "name of the host")
    assert found["pool.size"] == ("200G", "defaults")
    assert found["pool.percent"] == (10, "hosts.a")
    assert found["release"] == ("2.3", "default")
    assert found["labels"] == ([], "default")


def test_values_renamed_for_an_instance() -> None:
    assert sources("b")["pool.vg"] == ("containerd-two", "instance two")


def test_values_from_the_ssh_configuration() -> None:
    assert sources("b", port=2200)["port"] == (2200, "~/.ssh/config")


def test_values_from_the_command_line() -> None:
    found = sources("root@192.0.2.9:2201")
    assert found["user"] == ("root", "command line")
    assert found["address"] == ("192.0.2.9", "command line")
    assert found["port"] == (2201, "command line")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("web02", {"labels": 'hosts."web[01-03]"', "port": "hosts.web02", "pool.percent": "hosts.web02",
                   "pool.size": "defaults"}),
        ("web03", {"labels": 'hosts."web[01-03]"', "port": 'hosts."web[01-03]"', "address": "name of the host"}),
        ("c.example", {"user": 'hosts."c.example"'}),
        ("root@web02", {"labels": 'hosts."web[01-03]"', "port": "hosts.web02", "user": "command line",
                        "address": "name of the host"}),
        ("admin@b", {"address": "hosts.b", "user": "command line", "port": "default"}),
        ("b:2200", {"user": "defaults", "port": "command line"}),
        ("192.0.2.9:2201", {"user": "defaults", "port": "command line", "address": "command line"}),
    ],
)  # fmt: skip
def test_a_source_is_the_table_as_it_is_written(typed: str, expected: dict[str, str]) -> None:
    found = sources(typed)
    assert {key: found[key][1] for key in expected} == expected


def test_the_limit_of_a_connection_may_come_from_the_command_line() -> None:
    assert sources("a", connect_timeout=2)["connect_timeout"] == (2, "command line")


def test_the_user_of_a_typed_host_may_come_from_the_ssh_configuration() -> None:
    assert sources("192.0.2.9:2201", user="me")["user"] == ("me", "~/.ssh/config")


@pytest.mark.parametrize("host", ["a", ""])
def test_each_key_is_shown_on_a_line(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    paths.inventory().write_text(FLEET)
    c = SimpleNamespace(host_entry=inventory.load().hosts[host]) if host else SimpleNamespace()
    show_settings(cast(Context, c))
    lines = capsys.readouterr().out.splitlines()
    assert ["user", "admin", "defaults"] in [line.split() for line in lines]
    assert len(lines) == len(sources("a"))
