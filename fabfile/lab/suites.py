"""The Debian generations of the lab, and the mirror from which this machine gets Debian."""

from __future__ import annotations

import re
from pathlib import Path

from fabfile.errors import Refused

SUITES: dict[str, tuple[str, ...]] = {
    "bookworm": (),
    "trixie": (),
    # The mirror of a suite in development may lag behind, so that its release file has expired.
    "forky": ('--aptopt=Acquire::Check-Valid-Until "false"',),
}
"""Suite → options of mmdebstrap for it."""

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


ADDRESS = re.compile(r"(?:mirror\+)?(https?://[^\s/]+(?:/[^\s/]+)*?/debian)/?")


def check(suite: str) -> None:
    """Refuse a suite that the lab does not know."""
    if suite not in SUITES:
        raise Refused(f"no suite {suite!r} in the lab", f"known: {', '.join(SUITES)}")


def mirror(sources: Path = Path("/etc/apt")) -> str:
    """Return the address of Debian's archive in this machine's apt sources.

    Raises:
        Refused: there is none.
    """
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    lines = [line for file in files if file.is_file() for line in file.read_text(errors="replace").splitlines()]
    for kind in (_one_line, _uris):
        for word in (word for line in lines for word in kind(line)):
            if found := ADDRESS.fullmatch(word):
                return found[1]
    raise Refused(
        "no Debian mirror in this machine's apt sources", f"looked in {sources}", hint="the lab needs a Debian machine"
    )


def _one_line(line: str) -> list[str]:
    """The address in a line of the old format, `deb [options] ADDRESS SUITE …`."""
    kind, rest = [*line.split(maxsplit=1), "", ""][:2]
    if rest.startswith("["):
        rest = rest.partition("]")[2]
    return rest.split()[:1] if kind == "deb" else []


def _uris(line: str) -> list[str]:
    """The addresses in a line `URIs: ADDRESS…` of the new format."""
    key, _, rest = line.partition(":")
    return rest.split() if key == "URIs" else []
