"""What a test run waited for: every process of the run adds to one file, which the first one prints at the end."""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from pathlib import Path

FILE = "LAB_TIMES"
"""Environment variable: the file."""


def begin() -> None:
    """In the first process: make the file, and have all others inherit its name."""
    handle, name = tempfile.mkstemp(prefix="containerd-devmapper-times-")
    os.close(handle)
    os.environ[FILE] = name


def note(kind: str, what: str, seconds: float) -> None:
    """Write down that `what` took so many seconds."""
    if name := os.environ.get(FILE):
        with Path(name).open("a") as out:
            out.write(json.dumps([kind, what, round(seconds, 2)]) + "\n")


def end() -> dict[str, list[tuple[float, int, str]]]:
    """Remove the file and return, for each kind, the sum of the seconds, how often, and what; the longest first."""
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
