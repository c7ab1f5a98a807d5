"""The one loop that makes changes: gather → plan → apply, and again where somebody else was faster.

The same plan is shown by --dry and is applied. After a step's changes the machine is looked at again, and whatever is
still to be done then is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fabfile import facts, interruption, target
from fabfile.apply import apply, notes
from fabfile.console import say
from fabfile.errors import Failed, Pending, Refused
from fabfile.facts import Facts, Query, gather
from fabfile.outcome import Outcome, note, to_come, with_diff
from fabfile.outcome import step as taken
from fabfile.plan import Change, Step, describe

if TYPE_CHECKING:
    from fabfile.context import Context

WIDTH = 58
"""Characters of a reason: a step's line has state, name, time and reason in 100."""

TRIES = 3
"""Plans for one step: each is made anew because somebody else changed the machine since it was looked at."""


class Done(NamedTuple):
    """What became of a plan."""

    changes: list[Change]
    """Those that were made; none where there was nothing to do."""
    printed: str
    have: Facts
    """The machine as it was looked at last."""


def converge(c: Context, steps: Sequence[Step], *, prove: bool = False) -> list[Outcome]:
    """Make `steps` true in their order and say what became of each. With --dry only say what would change.

    Args:
        c: the machine.
        steps: in the order in which they depend on each other.
        prove: unless with --dry, have the snapshotter make a snapshot in the first look; see Query.prove.

    Raises:
        Pending: with --dry, if anything would change.
        Problem: the first step that failed or refused; later steps are not tried.
    """
    query = facts.together([step.query for step in steps])
    # What changes are made for is proved by them: only the look before the first one tries what is there.
    look = facts.script(query)
    have = gather(c, msgspec.structs.replace(query, prove=prove and not target.is_dry(c)))
    if target.is_dry(c):
        outcomes = preview([(step.name, step.plan(have)) for step in steps])
        if pending(outcomes):
            raise Pending
        return outcomes
    names = [step.name for step in steps]
    to_come(names)
    # Every plan is made once before the first change: a refusal of a late step comes before anything is touched.
    for step in steps:
        step.plan(have)
    outcomes = []
    for number, step in enumerate(steps, 1):
        start = monotonic()
        with interruption.unit(step.name, ", ".join(names[number:])), taken(step.name):
            to_come(names[number:])
            changes, have = _make_true(c, step, query, have, look, outcomes)
        outcome = Outcome(
            step.name, "changed" if changes else "ok", _reason(changes), round(monotonic() - start, 2), changes
        )
        _say(outcome)
        note(outcome)
        outcomes.append(outcome)
    return outcomes


def _make_true(
    c: Context, step: Step, query: Query, have: Facts, look: str, outcomes: Sequence[Outcome]
) -> tuple[list[Change], Facts]:
    """Apply a step's plan, and return it with what the machine says then."""
    changes, printed, have = act(c, step.name, lambda have: _planned(step, have, outcomes), have, query, look)
    if changes:
        for line in notes(printed):
            say(f"{step.name}: {line}")
        have = facts.parse(printed)
        _must_be_done(step, have)
    return changes, have


def act(
    c: Context, name: str, plan: Callable[[Facts], list[Change]], have: Facts, query: Query, look: str = ""
) -> Done:
    """Do what `plan` says; where somebody else changed the machine since it was looked at, look and plan again.

    Args:
        c: the machine.
        name: of the step or task.
        plan: what to do.
        have: the machine as it was looked at.
        query: what to ask it for another plan.
        look: script that follows the changes, see `apply`.

    Raises:
        Failed: a change failed, or the machine keeps changing.
    """
    for _ in range(TRIES):
        changes = plan(have)
        if not changes:
            return Done([], "", have)
        printed = apply(c, name, changes, have, look)
        if printed is not None:
            return Done(changes, printed, have)
        have = gather(c, query)
    raise Failed(
        f"{name}: the host changed three times while planning", "is another task running on it?", hint="run it again"
    )


def _planned(step: Step, have: Facts, outcomes: Sequence[Outcome]) -> list[Change]:
    """The step's plan; once anything was changed, its refusal is a failure."""
    try:
        return step.plan(have)
    except Refused as wrong:
        done = [outcome.step for outcome in outcomes if outcome.status == "changed"]
        if not done:
            raise
        details = f"{wrong.details}\nchanged before: {', '.join(done)}"
        raise Failed(f"{step.name}: {wrong.what}", details, hint=wrong.hint) from wrong


def _reason(changes: list[Change]) -> str:
    return "; ".join(change.why for change in changes) if changes else "nothing to do"


def _must_be_done(step: Step, have: Facts) -> None:
    try:
        left = step.plan(have)
    except Refused as wrong:
        raise Failed(f"{step.name}: applied, but {wrong.what}", wrong.details, hint=wrong.hint) from wrong
    if left:
        raise Failed(
            f"{step.name}: applied, but the machine does not show it",
            "\n".join(f"still to do: {change.why}" for change in left),
            hint="run it again with --dry to see the difference",
        )


def _say(outcome: Outcome) -> None:
    """One line, and where the reasons are too long for it, one more for each change."""
    short = len(outcome.reason) <= WIDTH
    reason = outcome.reason if short else f"{len(outcome.changes)} change{'s' * (len(outcome.changes) > 1)}"
    say(f"{outcome.status:8} {outcome.step:22} {outcome.seconds:6.1f} s  {reason}")
    for change in [] if short else outcome.changes:
        say(f"         * {change.why}")


def preview(plans: list[tuple[str, list[Change]]]) -> list[Outcome]:
    """Show the plans. A later step is planned again after an earlier one's changes, and that is said.

    Returns:
        What would become of each.
    """
    outcomes: list[Outcome] = []
    before = ""
    for name, changes in plans:
        again = f"  planned again after {before}" if before else ""
        say(f"{'pending' if changes else 'ok':8} {name}{again}")
        for change in changes:
            say("\n".join(f"    {line}" for line in describe(change, diff=with_diff())))
        outcome = Outcome(name, "pending" if changes else "ok", _reason(changes), 0, changes)
        note(outcome)
        outcomes.append(outcome)
        before = before or (name if changes else "")
    return outcomes


def pending(outcomes: Sequence[Outcome]) -> bool:
    """Whether something would be done."""
    return any(outcome.status == "pending" for outcome in outcomes)
