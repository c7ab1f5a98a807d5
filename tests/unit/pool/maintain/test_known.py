"""Databases of containerd that belong to another pool, or were lost: found in facts, and refused before a new pool."""

from __future__ import annotations

import base64
import gzip

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import Refused
from fabfile.facts import Facts, known
from fabfile.facts.known import DatabaseCounts
from fabfile.facts.pool import Pool
from fabfile.host import Host
from fabfile.host import Pool as Asked
from fabfile.pool.health import usable
from fabfile.pool.health.findings import pool_findings
from fabfile.pool.loop import loop_pool
from fabfile.pool.lvm import direct_pool
from fabfile.steps.status import checks
from tests.unit import typed
from tests.unit.pool import databases
from tests.unit.pool.groups import asked, fresh
from tests.unit.pool.loops import NAME, ROOM, machine, pool, state, want
from tests.unit.pool.maintain.test_corrections import entry, snapshot
from tests.unit.steps.conftest import having

BEFORE = DatabaseCounts(2, 2, 3, ("/srv/pool/pool.db", "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db"), 0)


def packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content)).decode()


def test_what_is_in_the_databases_is_counted() -> None:
    entries = packed(databases.pool({"pool-snap-1": entry(1, 1), "pool-snap-2": entry(2, 2)}, 2))
    there = packed(databases.snapshots([snapshot(1)], 1))
    records = packed(databases.records({"sha256:a": ("default/1/key", "")}, {}, {}))
    text = f"path /d/pool.db\nentries {entries}\nsnapshots {there}\nrecords {records}\n"
    assert known.parse(text) == DatabaseCounts(2, 1, 1, ("/d/pool.db",))
    assert known.parse(f"entries {packed(databases.pool({}, 0))}\n") == DatabaseCounts(0)
    assert known.parse("some 1\nused 5\n") == DatabaseCounts(1, blocks=5)
    assert known.parse("some 0\n") == known.parse("some \n") == DatabaseCounts(0)
    assert known.parse("") == DatabaseCounts()


@given(st.binary(max_size=300))
def test_a_torn_database_is_unknown(content: bytes) -> None:
    for text in (packed(content), base64.b64encode(content).decode()):
        found = known.parse(f"entries {text}\nsnapshots {text}\nrecords {text}\n")
        assert found == DatabaseCounts()


def with_known(now: Pool, found: DatabaseCounts) -> Facts:
    return msgspec.structs.replace(machine(now), known=found)


EMPTY = state("rw", used_data=0)


@pytest.mark.parametrize(
    ("have", "found", "hint"),
    [
        (
            with_known(pool(), DatabaseCounts(0, blocks=103)),
            "database lists no devices on it",
            "inv pool.fsck --name pool; then",
        ),
        (with_known(EMPTY, BEFORE), "list 3 devices and snapshots", "inv pool.fsck --name pool --fix"),
    ],
)
def test_databases_of_another_pool_are_a_failure_of_a_deploy_and_of_doctor(have: Facts, found: str, hint: str) -> None:
    (said,) = pool_findings(have, NAME)
    assert (said.result, found in said.found, hint in said.hint) == ("fail", True, True)
    assert typed.wrong(said.hint) == []
    assert usable.plan(have, NAME) == [], "pool.loop goes on: its units may be what is to be mended"
    with pytest.raises(Refused):
        usable.plan(have, NAME, used=True)


@pytest.mark.parametrize(
    "have",
    [
        with_known(pool(), DatabaseCounts(3, blocks=103)),
        with_known(EMPTY, DatabaseCounts(0, 0, 0, blocks=0)),
        machine(EMPTY),
        # The last snapshot is removed, or the first one made, while the facts are gathered.
        with_known(pool(), DatabaseCounts(0)),
        with_known(EMPTY, msgspec.structs.replace(BEFORE, blocks=None)),
    ],
)
def test_the_databases_of_this_pool_and_of_a_new_one_are_accepted(have: Facts) -> None:
    assert pool_findings(have, NAME) == []
    assert usable.plan(have, NAME, used=True) == []


def test_a_new_pool_is_refused_under_the_state_of_another() -> None:
    bare = having(pool=Pool(place=ROOM), known=BEFORE)
    with pytest.raises(Refused, match="on a pool that is gone") as refused:
        loop_pool.plan(bare, want(), None)
    assert refused.value.hint.endswith(
        "systemctl stop containerd.service && mv /var/lib/containerd /var/lib/containerd.before"
        " && mv /srv/pool/pool.db /srv/pool/pool.db.before"
    )
    with pytest.raises(Refused, match="on a pool that is gone"):
        direct_pool.step(Host(pool=asked())).plan(fresh(known=BEFORE))
    (found,) = (check for check in checks(Host(pool=Asked(name=NAME)), bare) if check.what == "containerd's databases")
    assert (found.result, found.hint) == ("fail", refused.value.hint)
