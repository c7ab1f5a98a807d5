"""A hint is a command that works as it stands: about the same machine, containerd and pool."""

from __future__ import annotations

from pathlib import Path

import pytest
from invoke import Collection

import fabfile
from fabfile import hints
from fabfile.cli.task import Task
from fabfile.host import Host
from fabfile.instance import Daemon
from tests.unit import typed

TWO = "two-pool"


def tasks(of: Collection = fabfile.ns, before: str = "") -> dict[str, Task]:
    found = {f"{before}{name}": task for name, task in of.tasks.items() if isinstance(task, Task)}
    for name, inner in of.collections.items():
        found |= tasks(inner, f"{before}{name}.")
    return found


def test_which_tasks_take_a_name_and_an_instance() -> None:
    options = {name: {arg.name for arg in task.get_arguments()} for name, task in tasks().items()}
    assert {name for name, taken in options.items() if "name" in taken} == hints.NAMED
    assert {name for name, taken in options.items() if "instance" not in taken} == hints.WHOLE


@pytest.mark.parametrize(
    ("task", "daemon", "name", "options", "says"),
    [
        ("pool.check", "", "containerd-pool", (), "inv pool.check"),
        ("pool.reset", "", "containerd-pool", ("--yes",), "inv pool.reset --name containerd-pool --yes"),
        ("pool.reset", "", "other", ("--yes",), "inv pool.reset --name other --yes"),
        ("pool.reset", "two", TWO, ("--yes",), "inv pool.reset --instance two --name two-pool --yes"),
        ("pool.grow", "two", "other", ("--size", "4G"), "inv pool.grow --instance two --name other --size 4G"),
        ("pool.grow", "", "", ("--device", "/dev/a b"), "inv pool.grow --device '/dev/a b'"),
        ("deploy", "two", "other", (), "inv deploy --instance two"),
        ("packages", "two", "other", (), "inv packages"),
        ("doctor", Daemon("two"), "", (), "inv doctor --instance two"),
    ],
)
def test_what_the_inventory_does_not_say_is_said(
    task: str, daemon: Daemon | str, name: str, options: tuple[str, ...], says: str
) -> None:
    assert hints.command(task, daemon, name, *options) == says
    assert typed.wrong(says) == []


def test_here_the_inventory_is_that_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text('[defaults]\ninstance = "two"\n')
    assert hints.command("pool.trim", "", "containerd-pool") == "inv pool.trim --instance default"
    assert hints.command("pool.trim", "two", TWO) == "inv pool.trim"


def test_on_a_host_it_is_typed_for_that_host() -> None:
    with hints.entered(Host(name="web1", instance="two")):
        assert hints.command("pool.trim", "two", TWO) == "fab -H web1 pool.trim"
        assert hints.command("pool.reset", "", "x") == "fab -H web1 pool.reset --instance default --name x"
    assert hints.command("deploy") == "inv deploy"


def test_what_was_typed_is_repeated_and_completed() -> None:
    task = tasks()["pool.restore"]
    given = {"from": "/srv/a b", "force": True, "yes": False, "name": "x", "instance": None, "json": True}
    with hints.typed("pool.restore", task.typed(given)):
        said = hints.again("pool.restore", "", "x", "--yes")
        assert said == "inv pool.restore --name x --from '/srv/a b' --force --yes"
        assert hints.again("pool.restore", "", "x", "--force", "--yes") == said
        assert hints.again("pool.trim", "", "x", "--force") == "inv pool.trim --name x --force", "another task"
    assert typed.wrong(said) == []


def test_a_reset_of_everything_stays_one(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text('[defaults]\ninstance = "two"\n')
    with hints.typed("pool.reset", tasks()["pool.reset"].typed({"all": True, "force": True})):
        assert hints.again("pool.reset", "", "", "--yes") == "inv pool.reset --force --all --yes"
        with hints.entered(Host(name="web1")):
            assert hints.again("pool.reset", "", "", "--yes") == "fab -H web1 pool.reset --force --all --yes"


def test_a_list_is_repeated_whole() -> None:
    with hints.typed("pool.direct", tasks()["pool.direct"].typed({"device": ["/dev/a", "/dev/b"], "data_percent": 50})):
        assert hints.again("pool.direct") == "inv pool.direct --device /dev/a --device /dev/b --data-percent 50"


@pytest.mark.parametrize(
    ("hint", "found"),
    [
        ("to give it up: inv pool.reset --name x --yes, then again", ["inv pool.reset --name x --yes"]),
        ("fab -H a doctor; or inv pool.trim", ["fab -H a doctor", "inv pool.trim"]),
        ("stop it (systemctl stop containerd)", []),
    ],
)
def test_commands_are_found_in_a_hint(hint: str, found: list[str]) -> None:
    assert typed.commands(hint) == found
    assert typed.wrong(hint) == []


@pytest.mark.parametrize(
    "hint", ["make one: pool.loop", "inv pool.reset --really", "inv pool.rest --yes", "inv run", "inv pool.grow --size"]
)
def test_what_does_not_work_is_noticed(hint: str) -> None:
    assert typed.wrong(hint)
