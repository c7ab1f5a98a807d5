"""Plans that remove a pool, and a machine from which it is gone."""

from __future__ import annotations

from typing import Any

import msgspec

from fabfile.facts import Facts
from fabfile.facts.pool import Pool as PoolFact
from fabfile.instance import Daemon
from fabfile.plan import Change, Command
from fabfile.pool import remove, units


def going(have: Facts, name: str, **changes: Any) -> remove.Removal:
    record = units.recorded(have, name)
    assert record
    return msgspec.structs.replace(remove.Removal(name, Daemon(), record, "/srv/pool"), **changes)


def whys(changes: list[Change]) -> list[str]:
    return [change.why for change in changes]


def scripts(changes: list[Change]) -> str:
    return "\n".join(change.script for change in changes if isinstance(change, Command))


def bare(have: Facts) -> Facts:
    """The same machine without any file, pool or volume group of ours."""
    lvm = msgspec.structs.replace(have.lvm, groups=(), physical={}, profile=None) if have.lvm else None
    return msgspec.structs.replace(have, files={}, pool=PoolFact(), lvm=lvm)
