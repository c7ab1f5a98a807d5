"""containerd: built without btrfs, installed side by side, switched atomically."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke import Context, task

from fabfile import inventory, target
from fabfile.console import say
from fabfile.errors import Refused
from fabfile.facts import Facts, Query, gather
from fabfile.plan import Change, Step, converge
from fabfile.steps import versioned
from fabfile.steps.toolchain import HELP

if TYPE_CHECKING:
    from fabfile.build import Build

BINARIES = ("containerd", "ctr", "containerd-shim-runc-v2")


def built(release: str, arch: str, mirror: str) -> Build:
    """The build that a release means on an architecture."""
    from fabfile import releases
    from fabfile.build import Build

    return Build(releases.load(release, arch, mirror))


def step(release: str, mirror: str, bin_dir: str) -> Step:
    """The step that installs the containerd of `release`."""

    def plan(have: Facts) -> list[Change]:
        refuse_foreign(have)
        build = built(release, have.system.arch, mirror)
        unpack = 'tar -xzf "$1" -C "$d" --no-same-owner'
        prove = f'"$d/bin/containerd" --version | grep -qF {build.release.containerd.commit}'
        links = {f"{bin_dir}/{name}": f"bin/{name}" for name in BINARIES}
        return versioned.changes(have, "containerd", build.key, build, unpack, links, prove)

    return Step("containerd.install", plan)


def refuse_foreign(have: Facts) -> None:
    """Refuse a machine that has a containerd from somewhere else, before anything is touched."""
    if have.containerd.foreign:
        raise Refused(
            f"this machine has another containerd: {have.containerd.foreign}",
            "two daemons on one root directory destroy each other's state",
            hint="if it is not needed: apt-get remove containerd containerd.io docker.io (or dnf remove …), then again",
        )


@task(help=HELP)
def build(c: Context, release: str = "", mirror: str = "", json: bool = False) -> None:
    """Build containerd on this controller, or say where the finished build is."""
    host = inventory.of(c)
    have = gather(c, Query(bin_dir=host.bin_dir))
    wanted = built(release or host.release, have.system.arch, mirror or host.mirror)
    if target.is_dry(c):
        say(f"would build {wanted.label}, if it is not cached")
        return
    say(f"{wanted.label}: {wanted.path()}")


@task(help=HELP)
def install(c: Context, release: str = "", mirror: str = "", json: bool = False) -> None:
    """Install containerd below /opt/containerd, with links in the directory for programs."""
    host = inventory.of(c)
    steps = [step(release or host.release, mirror or host.mirror, host.bin_dir)]
    converge(c, steps, Query(bin_dir=host.bin_dir), json=json)
