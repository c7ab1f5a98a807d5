"""pool.kept: old copies of metadata are removed, unless one of them may be the only sound metadata."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from fabfile.facts import Facts
from fabfile.pool.maintain.metadata_copies import Copy
from tests.unit.pool.machines import POOLS, Make, both, done, trouble, with_pool

COPIES = "@stays 4096 /srv/pool/meta.1\n@stays 4096 /srv/pool/meta.2\n"
LOOKS = {"sed -n": COPIES}


def unfinished(have: Facts) -> Facts:
    return msgspec.structs.replace(have, units=msgspec.structs.replace(have.units, unfinished="/b.xml.gz"))


def down(have: Facts) -> Facts:
    return with_pool(have, table=None, status=None)


@both
def test_what_stays_and_what_was_removed_is_the_result(machine: Make, name: str) -> None:
    removed = "@removed 4096 /srv/pool/meta.1\n@stays 4096 /srv/pool/meta.2"
    c = machine(POOLS[name](), asked=LOOKS, says={"keep at most 1": removed})
    report = done("pool.kept", c, keep=1)
    assert report.status == "changed"
    assert report.result == [Copy("removed", "/srv/pool/meta.1", 4096), Copy("stays", "/srv/pool/meta.2", 4096)]


@both
def test_fewer_copies_than_may_be_kept_are_no_change(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), asked=LOOKS)
    report = done("pool.kept", c, keep=2)
    assert (report.status, c.done, len(report.result)) == ("ok", [], 2)


@pytest.mark.parametrize(
    ("state", "why", "way"), [(unfinished, "unfinished", "pool.restore"), (down, "down", "pool.check")]
)
@both
def test_none_is_removed_while_it_may_be_needed(
    machine: Make, name: str, state: Callable[[Facts], Facts], why: str, way: str
) -> None:
    c = machine(state(POOLS[name]()), asked=LOOKS)
    error = trouble(done("pool.kept", c, keep=1), "refused")
    assert why in error.what and "/srv/pool/meta.1, 4.0K" in error.details and way in error.hint
    assert c.done == []
    c = machine(state(POOLS[name]()), asked=LOOKS)
    assert len(done("pool.kept", c, keep=2).result) == 2
