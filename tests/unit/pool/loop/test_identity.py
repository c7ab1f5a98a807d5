"""When the identities of a pool's files are recorded."""

from __future__ import annotations

import pytest

from fabfile.facts import Facts
from fabfile.facts.pool import Place
from fabfile.plan import Command
from fabfile.pool import units
from fabfile.pool.loop import files, identity, loop_pool
from tests.unit.pool.loops import NAME, known, machine, pool, want

CONF = units.conf(NAME)


def changes(have: Facts) -> list[str]:
    return [change.why for change in identity.changes(have, files.recorded(have, NAME), CONF, "/srv/pool", "")]


def test_identities_are_recorded_once() -> None:
    assert changes(machine()) == []
    assert changes(known(machine(), MAKING="yes")) == ["record which files are the pool's"]


@pytest.mark.parametrize("key", identity.FILES)
def test_restored_files_are_recorded_again(key: str) -> None:
    assert changes(known(machine(), **{key: "17"})) == ["record which files are the pool's"]


def test_a_new_pool_is_recorded_before_use_and_complete_only_then() -> None:
    plan = loop_pool.plan(known(machine(pool(table=None, status=None)), MAKING="yes"), want(), None)
    assert [change.why for change in plan] == [
        "record which files are the pool's",
        "activate the pool, now and at every boot",
    ]
    (record, _) = plan
    assert isinstance(record, Command)
    assert '"$(findmnt -n -r -T /srv/pool -o UUID | tail -n 1)"' in record.script  # of mounts on each other
    assert record.script.splitlines()[-1] == f"record {CONF} MAKING no"


def test_a_mount_point_is_recorded_as_words_that_no_shell_takes_apart() -> None:
    odd = pool(place=Place("ext4", "/srv/it's\\x20$HOME", 1))
    assert changes(known(machine(odd), MOUNT="/srv/it_s_x20_HOME")) == []
