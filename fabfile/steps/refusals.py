"""What a deploy would refuse on a machine, found by making its plans; they are pure, so nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from fabfile import inventory
from fabfile.errors import Problem
from fabfile.facts import Facts, gather
from fabfile.facts.query import about, together
from fabfile.host import Host
from fabfile.plan import Step
from fabfile.pool.lookup import meant
from fabfile.remote import target
from fabfile.remote.context import Context
from fabfile.steps import deploy


class Refusal(msgspec.Struct, frozen=True):
    """Why a step would be refused."""

    what: str
    details: str
    hint: str


def gather_with_refusals(c: Context, instance: str) -> tuple[Host, Facts, list[Refusal]]:
    """Gather the facts about a containerd and its existing pool, and find what a deploy would refuse.

    That takes one round trip, or two if the inventory describes another pool. Unless with --dry, containerd also makes
    and removes a snapshot; see `Query.prove`.

    Args:
        c: the machine.
        instance: the containerd instance; see `inventory.of`.

    Returns:
        The host with that pool, the facts, and the refusals.

    Raises:
        Refused: the instance is not valid.
    """
    host = inventory.of(c, instance)
    order, have, found = _planned(c, host)
    pool = meant(have, host, "")
    if (pool.dm_name, pool.dir, pool.variant) != (host.pool.dm_name, host.pool.dir, host.pool.variant):
        host = msgspec.structs.replace(host, pool=pool)
        order, have, found = _planned(c, host)
    return host, have, found + refusals_of(order, have)


def _planned(c: Context, host: Host) -> tuple[list[Step], Facts, list[Refusal]]:
    """The steps of a deploy, the facts for them, and what is refused without facts."""
    order, found = _steps(host)
    query = together([about(host, prove=not target.is_dry(c)), *(step.query for step in order)])
    return order, gather(c, query), found


def _steps(host: Host) -> tuple[list[Step], list[Refusal]]:
    try:
        return deploy.steps(host), []
    except Problem as wrong:
        return [], [Refusal(wrong.what, wrong.details, wrong.hint)]


def refusals_of(order: Sequence[Step], have: Facts) -> list[Refusal]:
    """List the refusals of steps, without duplicates."""
    found: dict[str, Refusal] = {}
    for step in order:
        wrong = _refusal(step.plan, have)
        if wrong:
            found.setdefault(wrong.what, wrong)
    return list(found.values())


def _refusal(plan: Callable[[Facts], object], have: Facts) -> Refusal | None:
    try:
        plan(have)
    except Problem as wrong:
        return Refusal(wrong.what, wrong.details, wrong.hint)
    return None
