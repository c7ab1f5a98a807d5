"""Findings of several hosts: each is printed once, with the hosts that have it, and with one fix for all of them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from fabfile import hints
from fabfile.console import printable
from fabfile.output import host_comparison
from fabfile.output.answer import Answer
from fabfile.pool.health.finding import Finding

BEHIND = 29
"""Width in columns of the words before the text of a finding."""

BETWEEN = re.compile(r",(?![^\[]*\])")
"""A comma between two names, not within a range."""


Same = tuple[str, str, tuple[str, ...]]
"""What equal findings have in common: `result`, `what`, and the parts of the hint without the host."""


def table(answers: Mapping[str, Answer], width: int) -> list[str]:
    """The `fleet_answers.View` of doctor: all findings, and one line for the hosts without any."""
    found: dict[str, Sequence[Finding]] = {host: each.row for host, each in answers.items()}
    well = [host for host, own in found.items() if all(each.result == "ok" for each in own)]
    return [*folded(found, width), *([f"ok    {host_comparison.counted(well)}"] if well else [])]


def folded(found: Mapping[str, Iterable[Finding]], width: int) -> list[str]:
    """Return the lines that show all findings: failures before warnings, and those of the most hosts first.

    Args:
        found: name of a host → the results of its checks.
        width: columns at which lines are wrapped; a hint is a command, so it is not wrapped.
    """
    same: dict[Same, dict[str, list[str]]] = {}
    for host, own in found.items():
        for each in own:
            if each.result != "ok":
                key = (each.result, each.what, hints.parts(each.hint, host))
                same.setdefault(key, {}).setdefault(each.found, []).append(host)
    # `fail` comes before `warn`.
    ordered = sorted(same.items(), key=lambda each: (each[0][0], -len(_hosts(each[1]))))
    return [line for key, hosts_by_text in ordered for line in _lines(key, hosts_by_text, width)]


def _hosts(hosts_by_text: Mapping[str, Sequence[str]]) -> list[str]:
    """Return all hosts that have a finding, each once."""
    return list(dict.fromkeys(host for hosts in hosts_by_text.values() for host in hosts))


def _lines(same: Same, hosts_by_text: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """Return the lines of a finding.

    Args:
        same: what the finding has in common on all hosts.
        hosts_by_text: what was found → the hosts on which it was found.
        width: columns at which lines are wrapped.
    """
    result, what, hint = same
    lines: list[str] = []
    for text, hosts in sorted(hosts_by_text.items(), key=lambda each: -len(each[1])):
        first = " " * BEHIND if lines else f"{result:5} {what:22} "
        lines += textwrap.wrap(first + printable(text), width, subsequent_indent=" " * BEHIND)
        which = BETWEEN.sub(", ", host_comparison.counted(hosts))
        lines += textwrap.wrap(" " * BEHIND + which, width, subsequent_indent=" " * BEHIND, break_long_words=False)
    every = host_comparison.names(_hosts(hosts_by_text))
    return [*lines, f"      → {hints.joined(hint, every)}"] if any(hint) else lines
