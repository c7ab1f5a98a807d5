"""Errors in three parts: what is wrong, the details, and what to do next.

Every expected failure is an `invoke.Exit`, which `inv` and `fab` print without a traceback and turn into the exit code
of the process.
"""

from __future__ import annotations

import re

from invoke.exceptions import Exit

from fabfile.console import masked, printable

MOST = 64 << 10
"""Limit for the characters of the details."""

BLANK = re.compile(r"\s")


class Problem(Exit):
    """An expected failure.

    Args:
        what: what is wrong, in one sentence.
        details: the evidence: command, exit code, output, or two values that differ.
        hint: what to do next, preferably a command.
    """

    code = 1

    def __init__(self, what: str, details: str = "", hint: str = "") -> None:
        self.what = what
        self.details = bounded(details.strip())
        self.hint = hint
        super().__init__(message=self._message(), code=type(self).code)

    def _message(self) -> str:
        lines = [f"error: {self.what}"]
        lines += [f"  {line}" for line in self.details.splitlines()]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return printable("\n".join(lines))

    def __str__(self) -> str:
        return self.message or ""


def bounded(text: str) -> str:
    """Shorten text to its beginning and its end, with credentials masked, as a part of one is not recognised."""
    left_out = len(text) - MOST
    if left_out <= 0:
        return text
    # Only what is near the two cuts is masked, from blank to blank: the whole text may have many megabytes.
    half = MOST // 2
    first, last = BLANK.search(text, half), BLANK.search(text, len(text) - 2 * half)
    begin = masked(text[: first.start() if first else None])[:half]
    end = masked(text[last.start() if last else 0 :])[-half:]
    return f"{begin}\n… {left_out} characters left out …\n{end}"


class Failed(Problem):
    """Something was tried and failed."""

    code = 1


class Found(Failed):
    """A task that only inspects a host found a problem, and has printed it as a part of its answer."""


class Refused(Problem):
    """The input is not valid, or the target is not safe; nothing was changed."""

    code = 2


class Unreachable(Problem):
    """The host could not be reached, or could not be trusted."""

    code = 4


class Skipped(Problem):
    """A host was not started, because too many others failed."""

    code = 1


class Interrupted(Problem):
    """Ctrl-C or a signal kept something from starting, or stopped it."""

    code = 130


class Pending(Exit):
    """With --dry: changes are pending. The plan has already been printed."""

    def __init__(self) -> None:
        super().__init__(message=None, code=3)
