"""The table of the two variants of a pool. What their scripts do differently is in templates/pool/VARIANT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from fabfile.facts import Facts
from fabfile.facts.record import LoopRecord, LvmRecord, Record, variant
from fabfile.host import Host, Pool
from fabfile.plan import Change, Step
from fabfile.pool.limits import Growth
from fabfile.pool.loop import grow, loop_pool
from fabfile.pool.loop import remove as loop_remove
from fabfile.pool.lvm import direct_pool, extend, give_back, volume_group

R = TypeVar("R", bound=Record)


class Variant(msgspec.Struct, Generic[R], frozen=True):
    """A row of the table. Plans are pure functions of facts, and may raise Refused."""

    make: Callable[[Host], Step]
    """Makes the step of a deploy that creates a host's pool."""
    grow: Callable[[Host, Growth], Step]
    """Makes the step that enlarges it."""
    sized_by: tuple[str, ...]
    """Keys of the inventory that state its size, which pool.grow makes outdated."""
    zeroes: bool
    """Whether it zeroes each block when it is provisioned."""
    files: Callable[[str], tuple[str, ...]]
    """Paths of files that only pools of this variant have, by the pool's name."""
    complete: Callable[[Facts, str], list[Change]]
    """Plans to record the identities that the record lacks, before anything is removed."""
    remove: Callable[[Facts, str, R, bool], list[Change]]
    """Plans to remove the devices and files under the pool, as recorded; the last argument is --force."""


LOOP = Variant[LoopRecord](
    make=loop_pool.step,
    grow=grow.step,
    sized_by=("size", "meta_size"),
    zeroes=True,
    files=lambda name: (),
    complete=lambda have, name: [],  # each removal records what an earlier version did not
    remove=loop_remove.plan,
)
LVM = Variant[LvmRecord](
    make=lambda host: direct_pool.step(host, after_packages=True),
    grow=extend.step,
    sized_by=(),
    zeroes=False,
    files=lambda name: (volume_group.profile(name),),
    complete=give_back.recorded,
    remove=give_back.plan,
)

VARIANTS: dict[str, Variant[Any]] = {"loop": LOOP, "direct": LVM}
"""Variant, as in hosts.toml and in the record → row."""


def of(record: R) -> Variant[R]:
    """Return the row of an existing pool."""
    return VARIANTS[variant(record)]


def wanted(pool: Pool) -> Variant[Any]:
    """Return the row of a pool that the inventory describes."""
    return VARIANTS[pool.variant]


def files(name: str) -> tuple[str, ...]:
    """Paths of the variant-specific files that a pool of that name may have."""
    return tuple(path for row in VARIANTS.values() for path in row.files(name))
