"""The kinds of lab machines; the fastest that actually boots is used.

kind            the interface of a kind
kvm             qemu with hardware virtualisation
tcg             qemu with an emulated processor
qemu            what these two share
uml             User-mode Linux
uml_kernel      its kernel, from Debian's packages
uml_supervisor  the process that keeps such a machine and its network together
uml_cow         the overlay of its root disk
uml_vhost       serves its additional disks over vhost-user
uml_block       such a disk, on files
"""

from __future__ import annotations

import os

from fabfile.console import say
from fabfile.errors import Refused
from fabfile.lab.image import Image
from fabfile.lab.kinds.kind import Kind, Unfit
from fabfile.lab.kinds.kvm import Kvm
from fabfile.lab.kinds.tcg import Tcg
from fabfile.lab.kinds.uml import Uml

KINDS: dict[str, Kind] = {"kvm": Kvm(), "uml": Uml(), "tcg": Tcg()}
"""Name → kind, the fastest first."""

DEBIAN = "debian"
"""Instead of a kind's name: the best kind with Debian's own kernel."""


def wanted(name: str = "") -> tuple[str, ...]:
    """List the names of the kinds to try, in order.

    Args:
        name: `kvm`, `uml`, `tcg` or `debian`; empty: LAB_MACHINE, or else all.

    Raises:
        Refused: there is no such kind.
    """
    name, where = (name, "--machine") if name else (os.environ.get("LAB_MACHINE", ""), "LAB_MACHINE")
    if not name:
        return tuple(KINDS)
    if name == DEBIAN:
        return tuple(kind for kind in KINDS if kind != "uml")
    if name not in KINDS:
        raise Refused(f"{where}: no kind of machine {name!r}", f"known: {', '.join(KINDS)}", hint="leave it out")
    return (name,)


def choose(suite: str, name: str = "") -> tuple[Kind, Image]:
    """Return the first kind that works on the controller, and the suite's image for it.

    Args:
        suite: name of the Debian generation.
        name: see `wanted`.

    Raises:
        Refused: none of them works; with the reasons.
    """
    reasons: list[Unfit] = []
    for each in wanted(name):
        try:
            image = KINDS[each].image(suite)
        except Unfit as unfit:
            reasons.append(unfit)
            continue
        say(f"machines: {KINDS[each].what}, Linux {image.version}")
        return KINDS[each], image
    lacking = sorted({package for unfit in reasons for package in unfit.packages})
    raise Refused(
        "no lab machine can be started on this controller",
        "\n".join(f"{unfit.kind}: {unfit.why}" for unfit in reasons),
        hint=f"apt-get install --no-install-recommends {' '.join(lacking)}" if lacking else "use another machine",
    )
