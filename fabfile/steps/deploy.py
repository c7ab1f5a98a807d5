"""A deploy: packages, toolchain, containerd, runc, pool, configuration and smoke test, in this order."""

from __future__ import annotations

from typing import Any

import msgspec

from fabfile import inventory
from fabfile.console import shown
from fabfile.converge import converge
from fabfile.errors import Refused
from fabfile.host import DEPLOY_OPTIONS, Host, Pool
from fabfile.option import options
from fabfile.output.outcome import Outcome
from fabfile.plan import Step
from fabfile.pool import variants
from fabfile.pool.health import stated, usable
from fabfile.remote.context import Context
from fabfile.steps import config, containerd, packages, runc, smoke


def steps(host: Host) -> list[Step]:
    """The steps that bring a host into the wanted state, in the order of their dependencies.

    A toolchain is installed only on a host that builds; otherwise the controller has it in its cache.
    """
    return [
        *(containerd.prerequisites(host) or [packages.step(host)]),
        containerd.step(host),
        runc.step(host),
        variants.wanted(host.pool).make(host),
        usable.step(host, used=True),
        config.step(host),
        smoke.step(host),
    ]


def up_to(steps: list[Step], last: str) -> list[Step]:
    """Return the steps up to one of them.

    Args:
        steps: the steps of a deploy.
        last: name of the last one to return; empty: all.

    Raises:
        Refused: there is no such step.
    """
    names = [step.name for step in steps]
    if last and last not in names:
        raise Refused(f"--until: a deploy has no step {shown(last)}", f"its steps: {', '.join(names)}")
    return steps[: names.index(last) + 1] if last else steps


def deploy_host(c: Context, instance: str, until: str, **given: Any) -> list[Outcome]:
    """Converge all steps.

    Args:
        c: the machine.
        instance: the containerd instance; see `inventory.of`.
        until: name of the last step to take; empty: all.
        given: settings that were typed, of the host and, of `host.DEPLOY_OPTIONS`, of its pool.

    Raises:
        Pending: with --dry, if anything would change.
        Refused: there is no such step, or options of the pool were typed that none of the steps uses.
    """
    asked: dict[str, Any] = {key: given.pop(key) for key in DEPLOY_OPTIONS if key in given}
    host = inventory.of(c, instance, **given)
    host = msgspec.structs.replace(host, pool=host.pool.given(asked))
    taken = up_to(steps(host), until)
    pool = variants.wanted(host.pool).make(host).name
    if asked and pool not in [step.name for step in taken]:
        flags = ", ".join(options(Pool)[name].flag for name in asked)
        raise Refused(
            f"{flags}: for the pool, whose step comes after {until}",
            f"that step is {pool}",
        )
    outcomes = converge(c, taken, prove=True)
    stated.advise_changed(host, outcomes)
    return outcomes
