"""The cost of one run of a tool on the controller."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

LIMIT = 900
"""Seconds after which a run is killed."""


class Cost(NamedTuple):
    """The cost of one run, with all processes that it started and waited for."""

    wall: float
    """In seconds."""
    cpu: float
    """User plus system time in seconds."""
    memory: float
    """Peak memory of the largest process in MiB."""
    hosts: float = 0
    """CPU seconds of all hosts, which share the controller's cores here."""


def measure(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> Cost:
    """Run a command to its end.

    Args:
        command: program and arguments.
        environment: all of it.
        directory: where it runs.

    Raises:
        SystemExit: a non-zero exit code, with all that it said.
    """
    with tempfile.TemporaryFile() as output:
        begin = perf_counter()
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        timer = threading.Timer(LIMIT, process.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            timer.cancel()
        wall = perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace")
            raise SystemExit(f"exit code {process.returncode}: {' '.join(command)}\n{said}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
