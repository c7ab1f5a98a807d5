"""Install runc in /usr/local/sbin, as containerd's documentation does."""

from __future__ import annotations

from typing import Any

from fabfile import inventory
from fabfile.converge import converge
from fabfile.facts import Facts
from fabfile.facts.query import about
from fabfile.host import Host
from fabfile.output.outcome import Outcome
from fabfile.plan import Change, Step
from fabfile.remote.context import Context
from fabfile.steps import versioned

LINK = "/usr/local/sbin/runc"


def step(host: Host) -> Step:
    """The step that installs the runc of the host's release and checks its version."""

    def plan(have: Facts) -> list[Change]:
        runc = versioned.release(host, have.system.arch).runc
        unpack = 'mkdir "$d/bin"; install -m 0755 "$1" "$d/bin/runc"'
        prove = versioned.says('"$d/bin/runc" --version', f"runc version {runc.version}")
        return versioned.changes(have, "runc", runc.key, runc, unpack, {LINK: "bin/runc"}, prove)

    return Step("runc.install", plan, about(host, only=("versions",)))


def install_runc(c: Context, **given: Any) -> list[Outcome]:
    """Install runc; `given` are settings of the host that were typed."""
    return converge(c, [step(inventory.of(c, **given))])
