"""What is wrong with several hosts: each finding once, with the hosts that have it, and its fix for all of them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

from fabfile import alike, hints
from fabfile.answer import Answer
from fabfile.console import printable

BEHIND = 29
"""Columns of the words in front of what was found."""

BETWEEN = re.compile(r",(?![^\[]*\])")
"""A comma between names, and not within a range."""


class Finding(Protocol):
    """One thing that was looked at."""

    @property
    def what(self) -> str:
        """What was looked at."""

    @property
    def result(self) -> Literal["ok", "warn", "fail"]:
        """How it is."""

    @property
    def found(self) -> str:
        """What was seen."""

    @property
    def hint(self) -> str:
        """What to do about it."""


Same = tuple[str, str, tuple[str, ...]]
"""Of a finding: result, what, and its hint without the host."""


def table(answers: Mapping[str, Answer], width: int) -> list[str]:
    """A `together.View` of doctor; hosts that are well share the last line."""
    found: dict[str, Sequence[Finding]] = {host: each.row for host, each in answers.items()}
    well = [host for host, own in found.items() if all(each.result == "ok" for each in own)]
    return [*folded(found, width), *([f"ok    {alike.counted(well)}"] if well else [])]


def folded(found: Mapping[str, Iterable[Finding]], width: int) -> list[str]:
    """The lines that show what is wrong: what fails first, then what most hosts have.

    Args:
        found: name of a host → what was looked at on it.
        width: columns; a hint is a command, and stays whole.
    """
    same: dict[Same, dict[str, list[str]]] = {}
    for host, own in found.items():
        for each in own:
            if each.result != "ok":
                key = (each.result, each.what, hints.parts(each.hint, host))
                same.setdefault(key, {}).setdefault(each.found, []).append(host)
    # `fail` comes before `warn`.
    ordered = sorted(same.items(), key=lambda each: (each[0][0], -len(_hosts(each[1]))))
    return [line for key, said in ordered for line in _lines(key, said, width)]


def _hosts(said: Mapping[str, Sequence[str]]) -> list[str]:
    """All hosts, each once."""
    return list(dict.fromkeys(host for hosts in said.values() for host in hosts))


def _lines(same: Same, said: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """A finding, with what was seen of it on which hosts, and its hint."""
    result, what, hint = same
    lines: list[str] = []
    for text, hosts in sorted(said.items(), key=lambda each: -len(each[1])):
        first = " " * BEHIND if lines else f"{result:5} {what:22} "
        lines += textwrap.wrap(first + printable(text), width, subsequent_indent=" " * BEHIND)
        which = BETWEEN.sub(", ", alike.counted(hosts))
        lines += textwrap.wrap(" " * BEHIND + which, width, subsequent_indent=" " * BEHIND, break_long_words=False)
    return [*lines, f"      → {hints.joined(hint, alike.names(_hosts(said)))}"] if any(hint) else lines
