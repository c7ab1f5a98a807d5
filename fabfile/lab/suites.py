"""The Debian generations that the lab knows, and where this machine gets Debian from."""

from __future__ import annotations

import re
from pathlib import Path

from fabfile.errors import Refused

SUITES: dict[str, tuple[str, ...]] = {
    "bookworm": (),
    "trixie": (),
    # A mirror of a suite in development may lag behind the date up to which it vouches for itself.
    "forky": ('--aptopt=Acquire::Check-Valid-Until "false"',),
}
"""Suite → its own options of mmdebstrap."""

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def check(suite: str) -> None:
    """Refuse a suite that the lab does not know."""
    if suite not in SUITES:
        raise Refused(f"no suite {suite!r} in the lab", f"known: {', '.join(SUITES)}")


def mirror(sources: Path = Path("/etc/apt")) -> str:
    """The address of Debian's archive in this machine's apt sources.

    Raises:
        Refused: there is none.
    """
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    address = r"(?:mirror\+)?(https?://\S+?/debian)/?"
    for pattern in (rf"^deb\s+(?:\[.*?\]\s+)?{address}\s", rf"^URIs:.*?{address}(?:\s|$)"):
        found = re.search(pattern, text, re.MULTILINE)
        if found:
            return found[1]
    raise Refused(
        "no Debian mirror in this machine's apt sources", f"looked in {sources}", hint="the lab needs a Debian machine"
    )
