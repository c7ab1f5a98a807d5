"""runc, in /usr/local/sbin as containerd's own documentation has it."""

from __future__ import annotations

from typing import Any

from invoke import Context

from fabfile import inventory
from fabfile.converge import converge
from fabfile.facts import Facts, Query
from fabfile.outcome import Outcome
from fabfile.plan import Change, Step
from fabfile.steps import versioned

LINK = "/usr/local/sbin/runc"


def step(release: str, mirror: str) -> Step:
    """The step that installs the runc of `release` and proves its version."""

    def plan(have: Facts) -> list[Change]:
        from fabfile import releases

        runc = releases.load(release, have.system.arch, mirror).runc
        unpack = 'mkdir "$d/bin"; install -m 0755 "$1" "$d/bin/runc"'
        prove = versioned.says('"$d/bin/runc" --version', f"runc version {runc.version}")
        return versioned.changes(have, "runc", runc.key, runc, unpack, {LINK: "bin/runc"}, prove)

    return Step("runc.install", plan)


def install_runc(c: Context, **given: Any) -> list[Outcome]:
    """Take the step; `given` are settings of the host."""
    host = inventory.of(c, **given)
    return converge(c, [step(host.release, host.mirror)], Query(bin_dir=host.bin_dir))
