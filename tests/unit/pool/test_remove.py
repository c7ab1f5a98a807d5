"""The plan that removes a pool."""

from __future__ import annotations

import re

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.pool import Pool as PoolFact
from fabfile.pool import remove, units
from tests.unit import typed
from tests.unit.pool import groups, loops
from tests.unit.pool.groups import with_disk
from tests.unit.pool.removals import bare, going, scripts, whys


def test_a_loop_pool_is_removed_in_the_only_order_that_works() -> None:
    have = loops.machine()
    changes = remove.plan(have, going(have, loops.NAME))
    assert whys(changes) == [
        "stop containerd.service and take the pool pool down with all its thin devices",
        "remove /srv/pool/data and /srv/pool/meta, 10.1G",
        "remove all images, containers and snapshots of the default containerd",
        "remove its units and files",
        "forget the pool pool",
    ]
    assert scripts(changes).rstrip().splitlines()[-1].count("rmdir") == 1
    assert units.conf(loops.NAME) in scripts(changes[-1:])
    assert units.conf(loops.NAME) not in scripts(changes[:-1])


def test_what_is_gone_needs_no_removal_and_what_is_left_does() -> None:
    have = loops.machine()
    pool = going(have, loops.NAME)
    assert remove.plan(bare(have), pool) == []
    left = msgspec.structs.replace(bare(have), pool=PoolFact(data=have.pool.data))
    assert "remove /srv/pool/data and /srv/pool/meta, 10.0G" in whys(remove.plan(left, pool))
    assert remove.plan(msgspec.structs.replace(bare(have), pool=PoolFact(table=have.pool.table)), pool)


@pytest.mark.parametrize("have", [loops.machine(), with_disk(groups.made())])
def test_empty_directories_of_an_interrupted_reset_are_removed(have: Facts) -> None:
    (conf,) = (path for path in have.files if path.startswith(units.CONF_DIR))
    left = msgspec.structs.replace(bare(have), files={conf: have.files[conf]})
    name = conf.rpartition("/")[2].removesuffix(".conf")
    script = scripts(remove.plan(left, going(left, name)))
    for path in ("containerd.service.d", f"{units.unit(name)}.wants", units.SCRIPT.rpartition("/")[0], units.CONF_DIR):
        assert re.search(rf"rmdir \S*{re.escape(path)};", script), path
    assert re.search(rf"^rm -f .*{units.SCRIPT}( |$)", script, re.MULTILINE)
    assert script.index("daemon-reload") < script.rindex(conf)


@pytest.mark.parametrize(
    ("have", "needed"),
    [
        (with_disk(groups.made()), True),
        (loops.known(loops.machine(), VOLUME="vg/lv", VOLUME_MADE="mount"), True),
        (loops.machine(), False),
    ],
)
def test_what_lvm_has_is_not_forgotten_without_lvm(have: Facts, needed: bool) -> None:
    without = msgspec.structs.replace(have, needs=have.needs - {"lvm"}, lvm=None)
    (conf,) = (path for path in have.files if path.startswith(units.CONF_DIR))
    pool = going(without, conf.rpartition("/")[2].removesuffix(".conf"))
    if not needed:
        assert remove.plan(without, pool)
        return
    with pytest.raises(Refused, match="lvm is missing") as refused:
        remove.plan(without, pool)
    assert typed.commands(refused.value.hint.partition(": ")[2]) == ["inv packages"]
    assert remove.plan(bare(without), pool) == []


def test_shared_files_stay_with_another_pool_and_state_with_another_containerd() -> None:
    have = loops.machine()
    changes = remove.plan(have, going(have, loops.NAME, last=False, uses=False))
    assert units.SCRIPT not in scripts([change for change in changes if change.why.startswith("remove")])
    assert "containerd.service" not in changes[0].why
    assert "io.containerd" not in scripts(changes)
    assert "metadata.db" not in scripts(changes)
