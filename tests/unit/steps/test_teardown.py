"""The removal of what deploy installed besides pools."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.facts.files import FileFact
from fabfile.instance import OURS, Daemon
from fabfile.plan import Change, Command, File
from fabfile.steps import settings, teardown
from tests.unit.steps.conftest import having, with_versions

DAEMON = Daemon()
WANT = settings.ContainerdSettings(2, "pool", "/srv/pool", "10GB", "/usr/local/bin", "amd64")


def plan(**changes: object) -> list[Change]:
    return teardown.plan(having(**changes), DAEMON, force=False)


def unit(text: str = f"{OURS}.\n[Unit]\n") -> dict[str, FileFact]:
    return {DAEMON.unit_path: FileFact(text, 0o644)}


def test_an_empty_machine_has_nothing_to_remove() -> None:
    assert plan() == []


def test_the_unit_that_marks_everything_as_ours_is_removed_last() -> None:
    changes = plan(files=unit() | {DAEMON.config_path: FileFact(settings.edited(None, WANT), 0o644)})
    assert [change.why for change in changes] == [
        "stop containerd.service and remove all that it keeps below /var/lib/containerd",
        "remove /etc/containerd/config.toml",
        "remove containerd's unit and what else was written",
    ]


def test_a_unit_that_is_not_ours_and_what_belongs_to_it_stay() -> None:
    assert plan(files=unit("[Unit]\n")) == []


def test_only_what_was_installed_here_is_removed() -> None:
    key = "1.6.20-36c109ba8d06"
    have = with_versions(
        "containerd", current=key, installed=frozenset({key, "theirs"}),
        links={"/usr/local/bin/ctr": "/opt/containerd/current/bin/ctr", "/usr/local/bin/containerd": ""},
    )  # fmt: skip
    (change,) = teardown.plan(have, DAEMON, force=False)
    assert isinstance(change, Command)
    assert f"/opt/containerd/{key}" in change.script
    assert "theirs" not in change.script
    assert "/usr/local/bin/containerd" not in change.script


def test_a_configuration_that_was_there_keeps_what_is_not_ours() -> None:
    before = '# mine\nversion = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "x" # keep\n'
    now = settings.edited(before, WANT)
    (change,) = plan(files={DAEMON.config_path: FileFact(now, 0o600)})
    assert isinstance(change, File)
    assert tomllib.loads(change.content) == tomllib.loads(before)
    assert "# keep" in change.content
    assert change.mode == 0o600


keys = st.sampled_from(["root", "state", "oom_score", "imports_"])
values = st.one_of(st.integers(-9, 9), st.text("abc", max_size=3))


@given(st.dictionaries(keys, values, min_size=1), st.sampled_from([1, 2, 3]))
def test_exactly_what_was_added_is_removed(mine: dict[str, object], format: int) -> None:
    lines = [f"{key} = {value!r}" for key, value in mine.items()]
    before = "\n".join([f"version = {format}", *lines]) + "\n"
    want = settings.ContainerdSettings(format, "pool", "/srv/pool", "10GB", "/usr/local/bin", "amd64")
    after = settings.cleared(settings.edited(before, want))
    assert after is not None
    assert tomllib.loads(after) == tomllib.loads(before)
    assert settings.cleared(after) == after


@pytest.mark.parametrize("format", [1, 2, 3, 4])
def test_of_a_file_that_a_deploy_created_what_was_added_later_stays(format: int) -> None:
    want = settings.ContainerdSettings(format, "pool", "/srv/pool", "10GB", "/usr/local/bin", "amd64")
    created = settings.edited(None, want)
    assert settings.cleared(created) is None
    mirrors = '[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/containerd/certs.d"\n'
    (change,) = plan(files={DAEMON.config_path: FileFact(f"{created}\n{mirrors}", 0o600)})
    assert isinstance(change, File)
    assert {"version": 1, **tomllib.loads(change.content)} == {"version": format, **tomllib.loads(mirrors)}


def test_a_replaced_file_is_restored() -> None:
    original = f"{DAEMON.config_path}{settings.ORIGINAL}"
    there = {DAEMON.config_path: FileFact(settings.edited(None, WANT), 0o644), original: FileFact("# Docker\n", 0o644)}
    (change,) = (change for change in plan(files=unit() | there) if change.why.startswith("restore the original"))
    assert isinstance(change, Command)
    assert change.script.splitlines()[-1] == f"mv {original} {DAEMON.config_path}"
