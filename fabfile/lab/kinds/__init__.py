"""What runs a lab machine: KVM, User-mode Linux, or an emulated processor. The best that really boots is taken.

One file a kind, all with the interface of `kind.Kind`; `qemu.py` has what the two that are qemu share.
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
"""By name, the fastest first."""

DEBIAN = "debian"
"""In the place of a kind's name: the best of those that run Debian's own kernel."""


def wanted(name: str = "") -> tuple[str, ...]:
    """The names of the kinds to try, in order.

    Args:
        name: `kvm`, `uml`, `tcg`, `debian`, or nothing: then LAB_MACHINE, else any.

    Raises:
        Refused: no such kind.
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
    """The first kind that works here, and the suite's image for it.

    Args:
        suite: Debian's name of the generation.
        name: see `wanted`.

    Raises:
        Refused: none of them works; with the reason of each.
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
        "no machine can be started here",
        "\n".join(f"{unfit.kind}: {unfit.why}" for unfit in reasons),
        hint=f"apt-get install --no-install-recommends {' '.join(lacking)}" if lacking else "use another machine",
    )
