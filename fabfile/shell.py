"""Shell words: the only place that quotes values for scripts."""

from __future__ import annotations

import shlex
from pathlib import Path

quote = shlex.quote


def words(*parts: str | int | Path) -> str:
    """Quote `parts` as words of a shell command."""
    return shlex.join(map(str, parts))
