"""A machine with a loop pool of ours, as facts."""

from __future__ import annotations

from typing import Any

import msgspec

from fabfile.facts import Facts
from fabfile.facts import record as records
from fabfile.facts.files import FileFact
from fabfile.facts.instances import Instances
from fabfile.facts.pool import Backing, Place, Pool, Status, Table
from fabfile.facts.record import LoopRecord
from fabfile.keyvalue import settings
from fabfile.plan import Change, File
from fabfile.pool import units
from fabfile.pool.loop import identity, loop_pool, spec
from fabfile.pool.loop.spec import LoopSpec
from fabfile.sizes import GIB, MIB
from tests.unit.steps.conftest import having

NAME = "pool"
ROOM = Place("ext4", "/", 500 * GIB)


def want(**changes: Any) -> LoopSpec:
    """The requested pool: 100G of data, 75M of metadata."""
    asked = {"name": NAME, "dir": "/srv/pool", "size": "100G", "meta_size": "", "block_size": "64K"}
    return spec.wanted(**(asked | changes))


def written(changes: list[Change], have: Facts) -> Facts:
    """`have`, with the files of a plan."""
    new = {change.path: FileFact(change.content, change.mode) for change in changes if isinstance(change, File)}
    return msgspec.structs.replace(have, files=have.files | new)


KNOWN = {"MAKING": "no", "FS_UUID": "''", "MOUNT": "/", "DATA_INO": "0", "META_INO": "0"}
"""The recorded identities of the files below, as in a shell."""


def record(**changes: str) -> LoopRecord:
    """The record of such a pool, with other or additional lines."""
    lines = {"DATA": "/srv/pool/data", "META": "/srv/pool/meta", "BLOCK_SECTORS": "128"}
    found = records.read(units.conf(NAME), lines | {"ASKED_BYTES": "1", "ASKED_META_BYTES": "1"} | changes)
    assert isinstance(found, LoopRecord)
    return found


def known(have: Facts, **changes: str) -> Facts:
    """The same machine, once the record has the identities of the pool's files."""
    conf = units.conf(NAME)
    lines = [line for line in have.files[conf].content.splitlines() if line.partition("=")[0] not in identity.KEYS]
    content = "\n".join([*lines, *(f"{key}={value}" for key, value in (KNOWN | changes).items()), ""])
    have = msgspec.structs.replace(have, files=have.files | {conf: FileFact(content, 0o644)})
    pools = Instances(settings={NAME: settings(content)})
    return msgspec.structs.replace(have, instances=pools) if have.instances.pools else have


def pool(data: int = 100 * GIB, meta: int = 75 * MIB, **changes: Any) -> Pool:
    """An active, healthy pool on files of these sizes, a tenth of it in use."""
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
    """A machine on which pool.loop created the requested pool, whose state is `now`."""
    bare = having(pool=Pool(place=ROOM))
    now = now or pool()
    mount = now.place.target if now.place else "/"
    have = known(written(loop_pool.plan(bare, want(**asked), None), bare), MOUNT=mount)
    said = settings(have.files[units.conf(NAME)].content)
    return msgspec.structs.replace(have, pool=now, instances=Instances(settings={NAME: said}))


def state(mode: str, **changes: Any) -> Pool:
    """The pool in another state."""
    now = pool()
    assert now.status is not None
    return pool(status=msgspec.structs.replace(now.status, mode=mode, **changes))
