"""What the benchmarks share: running a command, and writing figures as CSV."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fabfile.paths import REPOSITORY


def run(command: list[str], **environment: str) -> str:
    """Run a command in the repository and return its standard output.

    Args:
        command: the program and its arguments.
        environment: variables added to those of this process.

    Raises:
        SystemExit: the command failed; the message contains its output.
    """
    done = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {command[-1]}\n{done.stdout}{done.stderr}")
    return done.stdout


def write_csv(file: Path, fields: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Write rows, the last field of which is a figure, to a CSV file with a header line.

    Args:
        file: the file, which is replaced.
        fields: the header.
        rows: one tuple per line; its last element is a number, and is written with three decimals.
    """
    with file.open("w", newline="") as out:
        lines = csv.writer(out, lineterminator="\n")
        lines.writerow(fields)
        lines.writerows((*row[:-1], f"{row[-1]:.3f}") for row in rows)
