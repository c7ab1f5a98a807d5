"""Build containerd without btrfs and install it beside earlier versions, with an atomic switch."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from fabfile import hints, inventory
from fabfile.console import say
from fabfile.converge import converge
from fabfile.errors import Pending
from fabfile.facts import ALWAYS, Facts, gather
from fabfile.facts.query import about
from fabfile.host import Host
from fabfile.instance import Daemon
from fabfile.output.answer import show
from fabfile.output.outcome import Outcome, note
from fabfile.plan import Change, Step
from fabfile.remote import target
from fabfile.remote.context import Context
from fabfile.shell import words
from fabfile.steps import foreign, packages, toolchain, versioned

if TYPE_CHECKING:
    from fabfile.artefacts.build import Build

FACTS = ("userland", "versions", "files", "containerd", "config", "instances")
"""Facts that the plans ask for, including those about a containerd that was not installed by us."""


def built(host: Host, arch: str) -> Build:
    """Return the build of the host's release for an architecture."""
    from fabfile.artefacts.build import Build

    return Build(versioned.release(host, arch))


def step(host: Host) -> Step:
    """The step that installs the containerd of the host's release.

    A build on the host itself uses the Go in /usr/local/go there.
    """

    def plan(have: Facts) -> list[Change]:
        build = built(host, have.system.arch)
        foreign.refuse(have, host.daemon, build.release.containerd.version)
        links = {f"{host.bin_dir}/{name}": f"bin/{name}" for name in build.programs}
        then = _deploys_of_others(have, host.daemon)
        return _place(have, build, host.build) + versioned.switch(have, "containerd", build.key, links, then)

    return Step("containerd.install", plan, about(host, only=FACTS))


def _deploys_of_others(have: Facts, daemon: Daemon) -> str:
    """Return the deploys of the other instances, which run the same programs from their next start on; empty: none."""
    # By the lines of the records, as another instance's may be damaged.
    others = sorted({lines.get("INSTANCE", "") for lines in have.instances.settings.values()} - {daemon.instance})
    return ", ".join(hints.command("deploy", other) for other in others)


def place_step(host: Host) -> Step:
    """The step that builds the containerd of the host's release on the host itself, and does not use it yet."""
    return Step(
        "containerd.build", lambda have: _place(have, built(host, have.system.arch), "host"), about(host, only=FACTS)
    )


def _place(have: Facts, build: Build, on: str) -> list[Change]:
    """Place the programs in /opt/containerd/KEY."""
    prove = versioned.says('"$d/bin/containerd" --version', build.release.containerd.commit)
    if on == "host":
        # The same script as on the controller, so the result is the same.
        script = f'printf %s {words(build.script)} >"$d/build.sh"'
        make = f'sh "$d/build.sh" "$1" {toolchain.GOROOT} "$d"'
        unpack = f'{script}\n{make}\ntar -xzf "$d/containerd.tar.gz" -C "$d"; rm "$d/containerd.tar.gz" "$d/build.sh"'
        return versioned.place(have, "containerd", build.key, build.release.containerd, unpack, prove)
    if build.key not in have.versions["containerd"].installed:
        build.check(have.userland.libc)
    unpack = 'tar -xzf "$1" -C "$d" --no-same-owner'
    return versioned.place(have, "containerd", build.key, build, unpack, prove)


def prerequisites(host: Host) -> list[Step]:
    """The steps that a build needs first: packages and toolchain on a host that builds, nothing on the controller."""
    if host.build != "host":
        return []
    return [packages.step(host), toolchain.go_step(host), toolchain.protoc_step(host)]


def _host(c: Context, on: str, given: dict[str, Any]) -> Host:
    """The host's settings, with the options that were typed."""
    return inventory.of(c, **given, **({"build": on} if on else {}))


def build_containerd(c: Context, on: str, **given: Any) -> list[Outcome]:
    """Build containerd, and do not install it.

    Args:
        c: the machine.
        on: where to build, `controller` or `host`; empty: as the inventory says.
        given: settings of the host that were typed.

    Raises:
        Pending: with --dry, if it is not built yet.
    """
    host = _host(c, on, given)
    if host.build == "host":
        return converge(c, [*prerequisites(host), place_step(host)])
    wanted = built(host, gather(c, about(host, only=ALWAYS)).system.arch)
    cached, start = wanted.is_cached, monotonic()
    if target.is_dry(c):
        plan = f"{'ok' if cached else 'pending':8} containerd.build\n    * build {wanted.label} on this controller"
        show(plan, always=True)
        note(Outcome("containerd.build", "ok" if cached else "pending", wanted.label, 0))
        if not cached:
            raise Pending
        return []
    say(f"{wanted.label}: {wanted.path()}")
    seconds = round(monotonic() - start, 2)
    outcome = Outcome("containerd.build", "ok" if cached else "changed", wanted.label, seconds)
    note(outcome)
    return [outcome]


def install_containerd(c: Context, on: str, **given: Any) -> list[Outcome]:
    """Install containerd, and what its build needs; the arguments are those of `build_containerd`.

    Raises:
        Pending: with --dry, if anything would change.
    """
    host = _host(c, on, given)
    return converge(c, [*prerequisites(host), step(host)])
