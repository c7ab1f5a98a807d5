"""Run on many hosts carefully: hosts begin in batches, and no further host begins once too many have failed.

--batches sets the sizes of the batches, --max-fail the limit; each is a number of hosts, or a percentage of them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from fabfile.console import say, shown
from fabfile.errors import Refused, Skipped

Item = TypeVar("Item")

WRONG = frozenset({"failed", "refused", "unreachable"})
"""Statuses that count as a failed host."""

NAMED = 3
"""Hosts that an error names before it counts the others."""

SIZES = "--batches 1,5,20%"
LIMIT = "--max-fail 10%"
"""Examples for hints."""


class Share(NamedTuple):
    """A number of hosts, or a percentage of them."""

    number: int
    percent: bool = False

    def of(self, hosts: int) -> int:
        """Return the number of hosts, out of `hosts`; a percentage is rounded down."""
        return self.number * hosts // 100 if self.percent else self.number

    def __str__(self) -> str:
        """Format it as it is typed."""
        return f"{self.number}{'%' if self.percent else ''}"


def share(word: str, flag: str, example: str, *, least: int) -> Share:
    """Parse a number of hosts or a percentage.

    Args:
        word: `5` or `20%`.
        flag: name of the option, for the error.
        example: an example of the option, for the hint.
        least: the smallest number or percentage that is allowed.

    Raises:
        Refused: the word is neither, or is out of range.
    """
    found = re.fullmatch(r"([0-9]{1,6})(%?)", word)
    if not found:
        raise Refused(f"{flag}: {shown(word)} is neither a number nor a percentage", hint=f"for example {example}")
    wanted = Share(int(found[1]), bool(found[2]))
    if wanted.number < least or (wanted.percent and wanted.number > 100):
        allowed = f"hosts: at least {least}; percent: {least} to 100"
        raise Refused(f"{flag}: {shown(word)} is out of range", allowed, hint=f"for example {example}")
    return wanted


def sizes(text: str, flag: str = "--batches") -> list[Share]:
    """Parse the value of --batches.

    Raises:
        Refused: a size is missing or invalid.
    """
    return [share(word.strip(), flag, SIZES, least=1) for word in text.split(",")]


def limit(text: str, flag: str = "--max-fail") -> Share:
    """Parse the value of --max-fail.

    Raises:
        Refused: it is not a number or percentage.
    """
    return share(text.strip(), flag, LIMIT, least=0)


def planned(hosts: Sequence[Item], wanted: Sequence[Share]) -> list[Sequence[Item]]:
    """Return the hosts in batches, each host once, in their order.

    Args:
        hosts: all hosts that were chosen.
        wanted: sizes of batches; the last one is repeated. A percentage is of all hosts, rounded down, at least one.
    """
    found: list[Sequence[Item]] = []
    begin = 0
    while begin < len(hosts):
        size = max(1, wanted[min(len(found), len(wanted) - 1)].of(len(hosts)))
        found.append(hosts[begin : begin + size])
        begin += size
    return found


def few(names: Sequence[str]) -> str:
    """Format the first names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


class FailureLimit:
    """Decides whether another host may begin.

    Args:
        most: limit for the hosts that may fail; None: no limit. A percentage is of the hosts in the batches so far, so
            if it is below 100, a first batch of one host must not fail.
    """

    def __init__(self, most: Share | None) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._begun = 0
        self._wrong: list[str] = []
        self._stopped: Skipped | None = None
        self._said = False

    def next_batch(self, hosts: int) -> None:
        """Count the hosts of the next batch."""
        with self._lock:
            self._begun += hosts

    def stopped(self) -> Skipped | None:
        """Return why no further host may be started, and print that the first time; None: it may."""
        with self._lock:
            if self._stopped and not self._said:
                self._said = True
                say(str(self._stopped), error=True)
            return self._stopped

    def ended(self, host: str, status: str) -> None:
        """Count a host that has finished; hosts under way are not affected."""
        with self._lock:
            if status not in WRONG:
                return
            self._wrong.append(host)
            if self.most is not None and len(self._wrong) > self.most.of(self._begun):
                self._stopped = self._stopped or self._too_many(self.most)

    def _too_many(self, most: Share) -> Skipped:
        count = len(self._wrong)
        what = f"not started: {few(self._wrong)} failed"
        allowed = f"{count} of {self._begun} hosts failed so far; --max-fail allows {most.of(self._begun)}"
        return Skipped(what, allowed, hint="fix what failed on them, then run the same command again")
