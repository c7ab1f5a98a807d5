"""containerd: built without btrfs, installed side by side, switched atomically."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Literal

from invoke import Context, task

from fabfile import inventory, target
from fabfile.console import say
from fabfile.converge import Outcome, converge
from fabfile.errors import Pending, Refused
from fabfile.facts import Facts, Query, gather
from fabfile.inventory import Host
from fabfile.plan import Change, Step, words
from fabfile.steps import packages, toolchain, versioned
from fabfile.steps.toolchain import HELP

if TYPE_CHECKING:
    from fabfile.build import Build


def built(release: str, arch: str, mirror: str) -> Build:
    """The build that a release means on an architecture."""
    from fabfile import releases
    from fabfile.build import Build

    return Build(releases.load(release, arch, mirror))


def step(release: str, mirror: str, bin_dir: str, on: str = "controller") -> Step:
    """The step that installs the containerd of `release`.

    Args:
        release: name of the set.
        mirror: see releases.load.
        bin_dir: where links to its programs go.
        on: `controller`, or `host`: built on the machine itself, with the Go that is in /usr/local/go there.
    """

    def plan(have: Facts) -> list[Change]:
        refuse_foreign(have)
        build = built(release, have.system.arch, mirror)
        links = {f"{bin_dir}/{name}": f"bin/{name}" for name in build.programs}
        return _place(have, build, on) + versioned.switch(have, "containerd", build.key, links)

    return Step("containerd.install", plan)


def place_step(release: str, mirror: str) -> Step:
    """The step that builds the containerd of `release` on the machine itself, without using it yet."""
    return Step("containerd.build", lambda have: _place(have, built(release, have.system.arch, mirror), "host"))


def _place(have: Facts, build: Build, on: str) -> list[Change]:
    """Have the programs in /opt/containerd/KEY."""
    prove = versioned.says('"$d/bin/containerd" --version', build.release.containerd.commit)
    if on == "host":
        # The controller's own script; what it makes is the same.
        script = f'printf %s {words(build.script)} >"$d/build.sh"'
        make = f'sh "$d/build.sh" "$1" {toolchain.GOROOT} "$d"'
        unpack = f'{script}\n{make}\ntar -xzf "$d/containerd.tar.gz" -C "$d"; rm "$d/containerd.tar.gz" "$d/build.sh"'
        return versioned.place(have, "containerd", build.key, build.release.containerd, unpack, prove)
    if build.key not in have.versions["containerd"].installed:
        build.check(have.system.libc)
    unpack = 'tar -xzf "$1" -C "$d" --no-same-owner'
    return versioned.place(have, "containerd", build.key, build, unpack, prove)


def refuse_foreign(have: Facts) -> None:
    """Refuse a machine that has a containerd from somewhere else, before anything is touched."""
    if have.containerd.foreign:
        raise Refused(
            f"this machine has another containerd: {have.containerd.foreign}",
            "two daemons on one root directory destroy each other's state",
            hint="if it is not needed: apt-get remove containerd containerd.io docker.io (or dnf remove …), then again",
        )


def prerequisites(host: Host) -> list[Step]:
    """What a build needs before it: on the host itself its packages and toolchain, on the controller nothing."""
    if host.build != "host":
        return []
    return [
        packages.step(build=True),
        toolchain.go_step(host.release, host.mirror),
        toolchain.protoc_step(host.release, host.mirror, host.bin_dir),
    ]


OPTIONS = HELP | {"on": "where to build: controller or host"}


def _host(c: Context, release: str, mirror: str, on: str) -> Host:
    """The machine's settings with what the options say."""
    import msgspec

    if on not in ("", "controller", "host"):
        raise Refused(f"on: {on!r}", "either controller or host")
    given = {"release": release, "mirror": mirror, "build": on}
    return msgspec.structs.replace(inventory.of(c), **{key: value for key, value in given.items() if value})


@task(help=OPTIONS)
def build(c: Context, release: str = "", mirror: str = "", on: str = "", json: bool = False) -> list[Outcome]:
    """Build containerd, on this controller or on the host itself, and prove what is in it; nothing is installed."""
    host = _host(c, release, mirror, on)
    query = Query(bin_dir=host.bin_dir)
    if host.build == "host":
        return converge(c, [*prerequisites(host), place_step(host.release, host.mirror)], query, json=json)
    wanted = built(host.release, gather(c, query).system.arch, host.mirror)
    there, start = wanted.is_kept, monotonic()
    if target.is_dry(c):
        say(f"{'ok' if there else 'pending':8} containerd.build\n    * build {wanted.label} on this controller")
        if not there:
            raise Pending
        return []
    say(f"{wanted.label}: {wanted.path()}")
    status: Literal["ok", "changed"] = "ok" if there else "changed"
    return [Outcome("containerd.build", status, wanted.label, round(monotonic() - start, 2))]


@task(help=OPTIONS)
def install(c: Context, release: str = "", mirror: str = "", on: str = "", json: bool = False) -> list[Outcome]:
    """Install containerd below /opt/containerd, with links in the directory for programs."""
    host = _host(c, release, mirror, on)
    steps = [*prerequisites(host), step(host.release, host.mirror, host.bin_dir, host.build)]
    return converge(c, steps, Query(bin_dir=host.bin_dir), json=json)
