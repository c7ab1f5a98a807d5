"""Waits of a test run: every process appends to one file, which the first process prints at the end."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

FILE = "LAB_TIMES"
"""Environment variable with the path of the file."""


def begin(directory: Path) -> None:
    """In the first process: create the file, whose name all others inherit."""
    file = directory / "times"
    file.touch()
    os.environ[FILE] = str(file)


def note(kind: str, what: str, seconds: float) -> None:
    """Record that `what` took this many seconds."""
    if name := os.environ.get(FILE):
        with Path(name).open("a") as out:
            out.write(json.dumps([kind, what, round(seconds, 2)]) + "\n")


def end() -> dict[str, list[tuple[float, int, str]]]:
    """Remove the file and return, for each kind, sums of seconds, counts and names, the longest first."""
    file = Path(os.environ.pop(FILE))
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in file.read_text().splitlines():
        kind, what, seconds = json.loads(line)
        found[kind][what].append(seconds)
    file.unlink()
    return {
        kind: sorted(((sum(each), len(each), what) for what, each in by.items()), reverse=True)
        for kind, by in found.items()
    }
