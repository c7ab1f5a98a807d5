"""What can go wrong, in three parts: what, the details, what to do next.

Every expected failure is an `invoke.Exit`, which `inv` and `fab` print without a traceback and turn into the
exit code of the process.
"""

from __future__ import annotations

from invoke.exceptions import Exit

from fabfile.console import printable

MOST = 64 << 10
"""Characters of the details."""


class Problem(Exit):
    """An expected failure.

    Args:
        what: one sentence, what is wrong.
        details: the evidence: command, exit code, output, the two values that differ.
        hint: what to do next, preferably a command to type.
    """

    code = 1

    def __init__(self, what: str, details: str = "", hint: str = "") -> None:
        self.what = what
        self.details = _bounded(details.strip())
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


def _bounded(text: str) -> str:
    """What fits on a terminal of what a machine printed: its beginning and its end."""
    left_out = len(text) - MOST
    if left_out <= 0:
        return text
    return f"{text[: MOST // 2]}\n… {left_out} characters left out …\n{text[-MOST // 2 :]}"


class Failed(Problem):
    """Something was tried and did not work."""

    code = 1


class Refused(Problem):
    """Bad input or an unsafe target; nothing was touched."""

    code = 2


class Unreachable(Problem):
    """The host could not be reached or could not be trusted."""

    code = 4


class Skipped(Problem):
    """A host was not begun, because too many others are not fine."""

    code = 1


class Interrupted(Problem):
    """Ctrl-C or a signal: it was not begun, or was cut."""

    code = 130


class Pending(Exit):
    """With --dry: changes are pending. The plan has been printed already."""

    def __init__(self) -> None:
        super().__init__(message=None, code=3)
