"""The only loop that makes changes: gather, plan, apply, and again if somebody else was faster.

The plan that --dry shows is the plan that is applied. After the changes of a step, facts are gathered again, and
whatever is still to be done is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fabfile import facts, interruption, traits
from fabfile.apply import apply, notes
from fabfile.console import plural, say
from fabfile.errors import Failed, Pending, Refused
from fabfile.facts import Facts, gather
from fabfile.facts.query import Query, together
from fabfile.output import answer
from fabfile.output.outcome import Outcome, note, to_come, with_diff
from fabfile.output.outcome import step as taken
from fabfile.plan import Change, Step, describe
from fabfile.remote import lock, target

if TYPE_CHECKING:
    from fabfile.remote.context import Context

WIDTH = 58
"""Limit for the characters of a reason, so that a step's line with state, name and time fits in 100."""

TRIES = 3
"""Number of plans for one step, if somebody else keeps changing the machine between facts and changes."""


class Done(NamedTuple):
    """What became of a plan."""

    changes: list[Change]
    """The changes that were made."""
    printed: str
    have: Facts
    """The facts that the plan was made from."""


def converge(c: Context, steps: Sequence[Step], *, prove: bool = False, seen: Facts | None = None) -> list[Outcome]:
    """Converge steps in order, and print the outcome of each. With --dry, only print what would change.

    Args:
        c: the machine.
        steps: the steps, in the order of their dependencies.
        prove: unless with --dry, have containerd make a snapshot while facts are gathered first; see `Query.prove`.
        seen: facts that were gathered for the same steps a moment ago; None: gather them.

    Returns:
        The outcome of each step.

    Raises:
        Pending: with --dry, if anything would change.
        Problem: the first step that failed or was refused; later steps are not tried.
    """
    query = together([step.query for step in steps])
    if target.is_dry(c):  # plans of several hosts are shown with all that the hosts differ in
        query = msgspec.structs.replace(query, only=())
    # Changes are proved by their own checks, so only the facts before the first change include a snapshot.
    prove = prove and "proof" in facts.asked(query) and not target.is_dry(c)
    have = seen or gather(c, msgspec.structs.replace(query, prove=prove))
    if target.is_dry(c):
        outcomes = preview([(step.name, step.plan(have)) for step in steps])
        answer.compare(lambda: traits.of(have, query.pool))
        if pending(outcomes):
            raise Pending
        return outcomes
    names = [step.name for step in steps]
    to_come(names)
    # All plans are made once before the first change, so that a refusal of a late step comes before anything is
    # changed.
    for step in steps:
        step.plan(have)
    outcomes = []
    for number, step in enumerate(steps, 1):
        start = monotonic()
        with interruption.section(step.name, ", ".join(names[number:])), taken(step.name):
            to_come(names[number:])
            rest = together([each.query for each in steps[number - 1 :]])
            changes, have = _make_true(c, step, rest, have, outcomes)
        outcome = Outcome(
            step.name, "changed" if changes else "ok", _reason(changes), round(monotonic() - start, 2), changes
        )
        _say(outcome)
        note(outcome)
        outcomes.append(outcome)
    return outcomes


def _make_true(
    c: Context, step: Step, query: Query, have: Facts, outcomes: Sequence[Outcome]
) -> tuple[list[Change], Facts]:
    """Apply a step's plan; return the changes, and the facts after them, of what it and the steps after it ask for."""
    changes, printed, have = act(
        c, step.name, lambda have: _planned(step, have, outcomes), have, query, gather_after=True
    )
    if changes:
        for line in notes(printed):
            say(f"{step.name}: {line}")
        have = facts.parse(printed, facts.asked(query))
        _must_be_done(step, have)
    return changes, have


def act(
    c: Context,
    name: str,
    plan: Callable[[Facts], list[Change]],
    have: Facts,
    query: Query,
    *,
    gather_after: bool = False,
) -> Done:
    """Apply a plan; if somebody else has changed the machine meanwhile, gather facts and plan again.

    Args:
        c: the machine.
        name: name of the step or task.
        plan: makes the plan.
        have: the facts gathered last.
        query: query for gathering them again.
        gather_after: also gather them after the changes, in the same round trip; see `apply`.

    Raises:
        Failed: a change failed, or the machine keeps changing.
    """
    until = monotonic() + (lock.patience(c) or 0)
    tries = 0
    while True:
        changes = plan(have)
        if not changes:
            return Done([], "", have)
        try:
            facts_script = facts.script(query) if gather_after else ""
            return Done(changes, apply(c, name, changes, have, facts_script), have)
        except lock.Stale as stale:
            tries += 1
            if tries >= TRIES and monotonic() >= until:
                last = f"the last change: {stale}" if str(stale) else "is another task running on it?"
                what = f"{name}: the host changed {tries} times while planning"
                raise Failed(what, last, hint="run it again") from stale
        have = gather(c, query)


def _planned(step: Step, have: Facts, outcomes: Sequence[Outcome]) -> list[Change]:
    """Return the plan of a step; if an earlier step has changed something, a refusal is raised as a failure."""
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
            f"{step.name}: applied, but the host does not show it",
            "\n".join(f"still to do: {change.why}" for change in left),
            hint="run it again with --dry to see the difference",
        )


def _say(outcome: Outcome) -> None:
    """Print one line, and one for each change if the reasons do not fit into it."""
    short = len(outcome.reason) <= WIDTH
    reason = outcome.reason if short else plural(len(outcome.changes), "change")
    say(f"{outcome.status:8} {outcome.step:22} {outcome.seconds:6.1f} s  {reason}")
    for change in [] if short else outcome.changes:
        say(f"         * {change.why}")


def preview(plans: list[tuple[str, list[Change]]]) -> list[Outcome]:
    """Print plans; a step that will be planned again after the changes of an earlier one is marked.

    Returns:
        The outcome of each.
    """
    outcomes: list[Outcome] = []
    before = ""
    for name, changes in plans:
        again = f"  planned again after {before}" if before else ""
        lines = [f"{'pending' if changes else 'ok':8} {name}{again}"]
        for change in changes:
            lines += [f"    {line}" for line in describe(change, diff=with_diff())]
        answer.show("\n".join(lines), always=True)
        outcome = Outcome(name, "pending" if changes else "ok", _reason(changes), 0, changes)
        note(outcome)
        outcomes.append(outcome)
        before = before or (name if changes else "")
    return outcomes


def pending(outcomes: Sequence[Outcome]) -> bool:
    """Return whether something would be done."""
    return any(outcome.status == "pending" for outcome in outcomes)
