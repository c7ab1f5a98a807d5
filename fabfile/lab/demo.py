"""The demo: a throwaway machine, a deploy over SSH, containers on devmapper and on overlayfs."""

from __future__ import annotations

import os
import sys
from time import monotonic

from invoke import Context

from fabfile import interruption, paths
from fabfile.console import say
from fabfile.errors import Failed, Problem, Refused
from fabfile.lab.throwaway import only_planned


def run_demo(c: Context, suite: str, kind: str, *, keep: bool) -> None:
    """Deploy to a machine made for this, and run containers on it.

    Args:
        c: the controller.
        suite: its Debian generation.
        kind: kind of machine; empty: the best one that boots on the controller.
        keep: do not remove the machine at the end.

    Raises:
        Pending: with --dry.
        Refused: there is a lab already.
        Failed: a step failed.
    """
    import subprocess
    import threading

    from fabfile.lab import directory, machines

    if there := directory.names(paths.lab()):
        what = f"{paths.lab()} has {', '.join(there)}"
        raise Refused("there is a lab already", what, hint="inv lab.down, or let LAB_DIR name another directory")
    only_planned(c, "lab.demo", "start a throwaway machine, deploy on it, run containers, remove it")
    start = monotonic()
    building = threading.Thread(target=_build, daemon=True)
    building.start()
    name = machines.up(1, suite, kind=kind)[0].name
    building.join()
    fab = [sys.executable, "-m", "fabric", "-H", name]
    environment = {**os.environ, "HOSTS_FILE": str(paths.lab() / "hosts.toml")}
    try:
        for args in (["deploy"], ["smoke"], ["pool.status"]):
            say(f"\n$ fab -H {name} {' '.join(args)}")
            with interruption.uncancellable():  # fab got the same signal, and ends in an orderly way
                done = subprocess.run([*fab, *args], cwd=paths.REPOSITORY, env=environment, check=False)
            if done.returncode:
                raise Failed(
                    f"fab {args[0]} failed on {name}",
                    f"exit code {done.returncode}",
                    hint=f"its console: {paths.lab() / name / 'console.log'}",
                )
    finally:
        if not keep:
            machines.down()
    say(f"\ntotal: {monotonic() - start:.0f} s" + (f"; the machine is kept: inv lab.shell {name}" if keep else ""))


def _build() -> None:
    """Build containerd while the machine is made. If that fails, the deploy tries again and reports the cause."""
    import subprocess

    from fabfile.lab import mirror

    try:
        holds = mirror.build()
    except Problem:
        return  # machines.up fails in the same way, and reports it
    build = ["containerd.build", "--release", "lab", "--mirror", str(holds)]
    subprocess.run([sys.executable, "-m", "invoke", *build], cwd=paths.REPOSITORY, check=False)
