"""One throwaway machine in a lab of its own, for a program beside the tests: to record a fact, to take a picture."""

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
    """A machine on which nothing was done yet; it and its lab are gone afterwards.

    Args:
        suite: its Debian.
        kind: of machine; empty: the best that boots here.
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
    """Run fab as a user would.

    Args:
        words: what follows `fab` on the command line.
        inventory: what HOSTS_FILE names.
        codes: exit codes that are right.
        shown: whether its output goes to where this program's own does, instead of being returned.

    Raises:
        SystemExit: another exit code.
    """
    done = subprocess.run(
        [str(Path(sys.executable).with_name("fab")), *words],
        cwd=REPOSITORY, env={**os.environ, "HOSTS_FILE": str(inventory)}, stdin=subprocess.DEVNULL, text=True,
        stdout=None if shown else subprocess.PIPE, stderr=None if shown else subprocess.STDOUT, check=False,
    )  # fmt: skip
    if done.returncode not in codes:
        raise SystemExit(f"fab {' '.join(words)}: exit code {done.returncode}\n{done.stdout or ''}")
    return done.stdout or ""
