"""The plan of what is installed under /opt: from nothing, from another version, and with something in the way."""

from __future__ import annotations

import pytest

from fabfile.artefacts.releases import Artefact
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.plan import Change, Command, Upload
from fabfile.steps import versioned
from tests.unit.steps.conftest import having, with_versions

SOURCE = Artefact("runc", "1", "http://mirror.example/runc", "0" * 64, "runc")
LINKS = {"/usr/local/sbin/runc": "bin/runc"}
LINKED = {"/usr/local/sbin/runc": "/opt/runc/current/bin/runc"}


def plan(have: Facts) -> list[Change]:
    return versioned.changes(have, "runc", "1-a", SOURCE, "unpack", LINKS, "prove")


def test_from_nothing_it_is_unpacked_beside_proved_renamed_switched_and_linked_in_this_order() -> None:
    upload, switch, link = plan(having())
    assert isinstance(upload, Upload) and upload.source is SOURCE
    lines = upload.script.splitlines()
    assert lines[0] == "umask 022"
    assert lines[-4:-2] == ["unpack", "prove"]
    assert lines[-2].endswith('chmod 755 "$d"')
    assert lines[-1].startswith('sync -f "$d"; mv -T "$d" /opt/runc/1-a')
    assert isinstance(switch, Command) and "none → 1-a" in switch.why
    moved = "ln -sfn 1-a /opt/runc/current.new; mv -T /opt/runc/current.new /opt/runc/current; sync /opt/runc"
    assert switch.script.endswith(moved)
    assert isinstance(link, Command) and link.why == "/usr/local/sbin/runc → /opt/runc/current/bin/runc"


def test_another_version_stays_and_only_current_is_switched() -> None:
    changes = plan(with_versions("runc", current="0-b", installed=frozenset({"0-b"}), links=LINKED))
    assert [change.why for change in changes] == ["runc 1-a in /opt/runc", "runc: 0-b → 1-a"]


def test_going_back_to_a_version_that_is_there_brings_nothing() -> None:
    changes = plan(with_versions("runc", current="0-b", installed=frozenset({"0-b", "1-a"}), links=LINKED))
    assert [change.why for change in changes] == ["runc: 0-b → 1-a"]


def test_a_finished_machine_has_nothing_to_do() -> None:
    assert plan(with_versions("runc", current="1-a", installed=frozenset({"1-a"}), links=LINKED)) == []


def test_a_link_to_an_old_place_is_corrected() -> None:
    old = {"/usr/local/sbin/runc": "/opt/runc/0-b/bin/runc"}
    (change,) = plan(with_versions("runc", current="1-a", installed=frozenset({"1-a"}), links=old))
    assert change.why.startswith("/usr/local/sbin/runc →")


def test_a_foreign_file_in_the_way_is_refused_with_a_hint() -> None:
    with pytest.raises(Refused) as caught:
        plan(with_versions("runc", links={"/usr/local/sbin/runc": ""}))
    assert "/usr/local/sbin/runc: in the way" in caught.value.what
    assert "mv /usr/local/sbin/runc /usr/local/sbin/runc.old" in caught.value.hint
