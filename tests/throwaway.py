"""One throwaway machine in a lab of its own, for programs beside the tests that record a fact or take a picture."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fabfile.lab import machines
from fabfile.lab.vm import Vm
from fabfile.paths import REPOSITORY

INVENTORY = "hosts.toml"
"""Name of the inventory in the lab's directory."""


@contextmanager
def machine(suite: str = "bookworm", kind: str = "") -> Iterator[Vm]:
    """Start an empty machine; it and its lab are removed afterwards.

    Args:
        suite: name of its Debian generation.
        kind: kind of machine; empty: the best one that boots here.
    """
    before = os.environ.get("LAB_DIR")
    lab = os.environ["LAB_DIR"] = tempfile.mkdtemp(prefix="containerd-devmapper-lab-")
    try:
        try:
            yield machines.up(1, suite, kind=kind)[0]
        finally:
            machines.down()
        Path(lab).rmdir()
    finally:
        if before is None:
            del os.environ["LAB_DIR"]
        else:
            os.environ["LAB_DIR"] = before


def fab(*words: str, inventory: Path, codes: tuple[int, ...] = (0,), shown: bool = True) -> str:
    """Run fab as an operator would.

    Args:
        words: words after `fab` on the command line.
        inventory: value of HOSTS_FILE.
        codes: valid exit codes.
        shown: print its output instead of returning it.

    Raises:
        SystemExit: the exit code is another one.
    """
    done = subprocess.run(
        [str(Path(sys.executable).with_name("fab")), *words],
        cwd=REPOSITORY, env={**os.environ, "HOSTS_FILE": str(inventory)}, stdin=subprocess.DEVNULL, text=True,
        stdout=None if shown else subprocess.PIPE, stderr=None if shown else subprocess.STDOUT, check=False,
    )  # fmt: skip
    if done.returncode not in codes:
        raise SystemExit(f"fab {' '.join(words)}: exit code {done.returncode}\n{done.stdout or ''}")
    return done.stdout or ""
