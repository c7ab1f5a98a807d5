"""A machine with a loop pool of ours, as facts."""

from __future__ import annotations

from typing import Any

import msgspec

from fabfile.facts import Facts
from fabfile.facts.files import FileFact
from fabfile.facts.instances import Instances
from fabfile.facts.pool import Backing, Place, Pool, Status, Table
from fabfile.plan import Change, File
from fabfile.sizes import GIB, MIB
from fabfile.steps.pool import files, loop, thin
from tests.unit.steps.conftest import having

NAME = "pool"
ROOM = Place("ext4", "/", 500 * GIB)


def want(**changes: Any) -> thin.Pool:
    """What somebody asked for: 100G of data, 75M of metadata."""
    asked = {"name": NAME, "dir": "/srv/pool", "size": "100G", "meta_size": "", "block_size": "64K"}
    return thin.pool(**(asked | changes))


def written(changes: list[Change], have: Facts) -> Facts:
    """`have` with what the files of a plan say."""
    new = {change.path: FileFact(change.content, change.mode) for change in changes if isinstance(change, File)}
    return msgspec.structs.replace(have, files=have.files | new)


def pool(data: int = 100 * GIB, meta: int = 75 * MIB, **changes: Any) -> Pool:
    """The pool on files of that length, active and well, with a tenth of it in use."""
    blocks = data // (64 << 10)
    well = Pool(
        table=Table("thin-pool", blocks * 128, "7:0", "7:1", 128, 32768),
        status=Status(100, meta // 4096, blocks // 10, blocks, "rw", needs_check=False, when_full="queue"),
        data=Backing(data, data // 10, used=True, loops=("7:1",)),
        meta=Backing(meta, meta, used=True, loops=("7:0",)),
        place=ROOM, active=True, enabled=True, monitor=True, no_space_timeout=60,
    )  # fmt: skip
    return msgspec.structs.replace(well, **changes)


def machine(now: Pool | None = None, **asked: Any) -> Facts:
    """A machine on which pool.loop made what `asked` says, and on which the pool is `now` by now."""
    bare = having(pool=Pool(place=ROOM))
    have = written(loop.plan(bare, want(**asked), None), bare)
    settings = files.parse(have.files[files.conf(NAME)].content)
    return msgspec.structs.replace(have, pool=now or pool(), instances=Instances(pools={NAME: settings}))


def state(mode: str, **changes: Any) -> Pool:
    """The pool in another state."""
    now = pool()
    assert now.status is not None
    return pool(status=msgspec.structs.replace(now.status, mode=mode, **changes))
