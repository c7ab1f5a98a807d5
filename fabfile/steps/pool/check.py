"""Whether a pool's metadata is sound, proved by thin_check: live on a snapshot of it, or all of it when it is down."""

from __future__ import annotations

import msgspec
from invoke import Context, task

from fabfile.console import say
from fabfile.daemon import INSTANCE
from fabfile.errors import Failed
from fabfile.facts import Facts
from fabfile.plan import Command
from fabfile.render import render
from fabfile.steps.pool import action
from fabfile.steps.pool.action import Found

TOOLS = ("dmsetup", "thin_check")


class Verdict(msgspec.Struct, frozen=True):
    """What came out of a check."""

    good: bool
    what: str
    """What was checked, or why nothing could be."""
    details: str = ""


def refusal(have: Facts) -> str:
    """What the kernel itself says against a pool; empty for one that it takes writes on."""
    status = have.pool.status
    if status is None:
        return ""
    if status.needs_check:
        return f"the kernel wants its metadata checked (mode {status.mode}, needs_check)"
    return "" if status.mode in ("rw", "out_of_data_space") else f"the kernel has it in mode {status.mode}"


def verdict(c: Context, task: str, found: Found) -> Verdict:
    """Check it.

    Raises:
        Failed: the check could not be made.
    """
    against = refusal(found.have)
    if against:
        return Verdict(False, against)  # no snapshot of the metadata is to be had in these modes
    script = render("pool/check.sh.j2", pool=found)
    printed = action.do(c, task, found, lambda have: [Command(f"thin_check of the pool {found.name}", script)])
    said = action.answer(printed, "checked")
    if said is None:
        raise Failed(f"{task}: thin_check did not end", printed)
    code, what = said[0], " ".join(said[1:])
    return Verdict(code == "0", what, "\n".join(line for line in printed.splitlines() if not line.startswith("@")))


@task(help={"name": "of the pool", "instance": INSTANCE})
def check(c: Context, name: str = "", instance: str = "") -> None:
    """Prove that a pool's metadata is sound; under running containers on a snapshot of it."""
    found = action.find(c, name, instance, TOOLS)
    result = verdict(c, "pool.check", found)
    if not result.good:
        raise Failed(
            f"the metadata of the pool {found.name} is not sound",
            f"{result.what}\n{result.details}",
            hint=f"keep it as it is; {found.command('pool.repair')}; or from a backup: {found.command('pool.restore')}",
        )
    say(f"pool {found.name}: sound ({result.what})")
