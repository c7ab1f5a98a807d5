"""A command of a benchmark: it works, or the benchmark ends."""

from __future__ import annotations

import os
import subprocess

from fabfile.paths import REPOSITORY


def run(command: list[str], **environment: str) -> str:
    """Run a command here and return what it printed.

    Raises:
        SystemExit: a non-zero exit code, with all that it said.
    """
    done = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {command[-1]}\n{done.stdout}{done.stderr}")
    return done.stdout
