"""What is done to a pool in the way of its variant: a row for each. Scripts are in templates/pool/VARIANT."""

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
    """A row. What plans does so purely from the facts, and refuses what cannot be."""

    make: Callable[[Host], Step]
    """The step of a deploy that makes the pool of a host."""
    grow: Callable[[Host, Growth], Step]
    """The step that makes it larger."""
    sized_by: tuple[str, ...]
    """Keys of the inventory that say how large it is, and that pool.grow makes untrue."""
    zeroes: bool
    """Whether it zeroes the blocks that it gives out."""
    files: Callable[[str], tuple[str, ...]]
    """Paths of files that a pool of that name has and one of another variant has not."""
    complete: Callable[[Facts, str], list[Change]]
    """Record the identities that its record lacks, before anything goes."""
    remove: Callable[[Facts, str, R, bool], list[Change]]
    """Take away what it stands on, known by its record; `True`: by force."""


LOOP = Variant[LoopRecord](
    make=loop_pool.step,
    grow=grow.step,
    sized_by=("size", "meta_size"),
    zeroes=True,
    files=lambda name: (),
    complete=lambda have, name: [],  # what an earlier version did not record is recorded with each deed
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
"""By the name that hosts.toml and the record have for it."""


def of(record: R) -> Variant[R]:
    """The row of a pool that was made."""
    return VARIANTS[variant(record)]


def wanted(pool: Pool) -> Variant[Any]:
    """The row of a pool as the inventory describes it."""
    return VARIANTS[pool.variant]


def files(name: str) -> tuple[str, ...]:
    """Paths of files that a pool of that name may have besides those of every pool."""
    return tuple(path for row in VARIANTS.values() for path in row.files(name))
