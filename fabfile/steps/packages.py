"""Distribution packages: device mapper, LVM, thin tools, mkfs; for builds on a host also git, make, gcc, headers."""

from __future__ import annotations

from fabfile import inventory
from fabfile.apply import NOTE
from fabfile.converge import converge
from fabfile.distributions import BUILD, PACKAGES, RUN
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.query import about
from fabfile.host import Host
from fabfile.output.outcome import Outcome
from fabfile.plan import Change, Command, Step
from fabfile.remote.context import Context
from fabfile.render import render
from fabfile.shell import words

WAIT = 120
"""Seconds that an installation waits for other users of the package manager's locks, as at a first boot."""

INSTALL = {
    # The machine's package lists may be missing or outdated; they are refreshed only if that turns out.
    "debian": "export DEBIAN_FRONTEND=noninteractive\n"
    "apt install --no-install-recommends {0} || {{ apt update && apt install --no-install-recommends {0}; }}",
    "redhat": "$(command -v dnf || command -v yum) -y install {0}",
}


def step(host: Host) -> Step:
    """The step that installs what is missing for running a pool and, on a host that builds, for building containerd."""
    needs = RUN + BUILD if host.build == "host" else RUN
    return Step("packages", lambda have: plan(have, needs), about(host, only=("needs",)))


def plan(have: Facts, needs: tuple[str, ...]) -> list[Change]:
    """Plan one installation of everything that is missing.

    Args:
        have: facts of the machine.
        needs: needs of `facts.needs`.

    Raises:
        Refused: something is missing, and the distribution's family is unknown.
    """
    missing = [need for need in needs if need not in have.needs]
    if not missing:
        return []
    family = have.system.family
    if family not in PACKAGES:
        raise Refused(
            f"cannot install packages on {have.system.distribution} {have.system.version}",
            f"missing: {', '.join(missing)}\nknown families: {', '.join(PACKAGES)}",
            hint="install them by hand, then run this again",
        )
    names = sorted({PACKAGES[family][need] for need in missing})
    functions = render("packages/apt.sh.j2", wait=WAIT, note=NOTE) if family == "debian" else ""
    return [Command(f"packages {' '.join(names)}", INSTALL[family].format(words(*names)), functions)]


def install_packages(c: Context, *, build: bool) -> list[Outcome]:
    """Install missing packages, with `build` also those that a build on the host needs."""
    return converge(c, [step(inventory.of(c, **({"build": "host"} if build else {})))])
