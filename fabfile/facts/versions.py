"""What is installed side by side under /opt: the versions, the current one, and the links to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fabfile.facts.query import Query

NAMES = ("containerd", "go", "protoc", "runc")


class Versions(msgspec.Struct, frozen=True):
    """One product under /opt/NAME."""

    current: str | None = None
    """Name of the directory that /opt/NAME/current links to."""
    installed: frozenset[str] = frozenset()
    links: dict[str, str] = {}
    """Path of a link outside of /opt → its target in /opt, or empty if it leads elsewhere or is not a link."""


def fragment(query: Query) -> str:
    """Print the directories and `current` of each name, and the links made by this tool, or what is in their place."""
    from fabfile.shell import quote

    bin_dir = quote(query.bin_dir)
    return rf"""
set --
for n in {" ".join(NAMES)}; do
  [ -d "/opt/$n" ] || continue
  for d in "/opt/$n"/*/; do d=${{d%/}}; d=${{d##*/}}; [ "$d" = current ] || [ "$d" = '*' ] || echo "dir $n $d"; done
  [ ! -L "/opt/$n/current" ] || set -- "$@" "/opt/$n/current"
done
for l in {bin_dir}/containerd* {bin_dir}/ctr {bin_dir}/protoc \
  /usr/local/sbin/runc /usr/local/go /usr/local/include/google; do
  if [ -L "$l" ]; then set -- "$@" "$l"
  elif [ -e "$l" ]; then echo "link $l "; fi
done
[ $# -gt 0 ] || exit 0
while IFS= read -r t; do
  case $1 in
    /opt/*/current) n=${{1#/opt/}}; echo "current ${{n%/current}} $t" ;;
    *) case $t in /opt/*) ;; *) t=;; esac; echo "link $1 $t" ;;
  esac
  shift
done <<LINKS
$(readlink "$@")
LINKS
"""


def parse(text: str) -> dict[str, Versions]:
    """Parse name → versions, for every name; empty if nothing is installed."""
    current: dict[str, str] = {}
    installed: dict[str, set[str]] = {name: set() for name in NAMES}
    links: dict[str, str] = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        first, _, second = rest.partition(" ")
        if kind == "current":
            current[first] = second
        elif kind == "dir":
            installed[first].add(second)
        elif kind == "link":
            links[first] = second
    return {name: Versions(current.get(name), frozenset(installed[name]), links) for name in NAMES}
