"""Content and mode of the files that steps write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fabfile.shell import quote

if TYPE_CHECKING:
    from fabfile.facts.query import Query


class FileFact(msgspec.Struct, frozen=True):
    """An existing file."""

    content: str
    mode: int


def fragment(query: Query) -> str:
    """Print `@mode MODE PATH` for each file, then `@file PATH` and its lines after `|`: one `stat` and one `awk`."""
    names = " ".join(map(quote, query.files))
    # awk prints nothing for empty files, and stat has no content.
    return rf"""
set --
for f in {names}; do [ ! -f "$f" ] || set -- "$@" "$f"; done
[ $# -gt 0 ] || exit 0
stat -L -c '@mode %a %n' "$@"
awk 'FNR == 1 {{ print "@file " FILENAME }} {{ print "|" $0 }}' "$@"
"""


def parse(text: str) -> dict[str, FileFact]:
    """Parse path → file; files that do not exist are left out."""
    modes: dict[str, int] = {}
    content: dict[str, list[str]] = {}
    path = ""
    for line in text.split("\n"):  # splitlines would also split at a form feed within a line
        if line.startswith("@mode "):
            _, mode, name = line.split(" ", 2)
            modes[name] = int(mode, 8)
        elif line.startswith("@file "):
            path = line.removeprefix("@file ")
        elif line.startswith("|"):
            content.setdefault(path, []).append(line[1:] + "\n")
    return {name: FileFact("".join(content.get(name, [])), mode) for name, mode in modes.items()}
