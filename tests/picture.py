"""Takes the picture of a deploy, docs/deploy.svg: commands and their real output, on a throwaway machine.

    python -m tests.picture

The machine is called node-1, as in docs/first-host.md. What it downloads comes from the lab; no path and no address of
this computer may be in the picture.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import tomllib
from pathlib import Path

import tomlkit
from rich.console import Console
from rich.text import Text

from fabfile import paths
from fabfile.errors import Problem
from tests import throwaway

PICTURE = paths.REPOSITORY / "docs" / "deploy.svg"

NAME, SIZE = "node-1", "8G"
"""Name of the machine, and size of its pool, which fits on its disk together with its growth."""

COLUMNS, BYTES = 100, 100_000
"""Width of the picture's terminal, and the size limit of the file."""

COMMANDS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("--dry", "deploy"), 3),
    (("deploy",), 0),
    (("pool.status",), 0),
    (("doctor",), 0),
)
"""Words after `fab -H hosts`, and the exit code."""


def inventory(lab: Path, file: Path) -> Path:
    """Write the lab's inventory, with another name for its machine and another size for its pool."""
    found = tomllib.loads((lab / throwaway.INVENTORY).read_text())
    (machine,) = found["hosts"].values()
    file.write_text(tomlkit.dumps({**found, "hosts": {NAME: {**machine, "pool": {"size": SIZE}}}}))
    return file


def private(inventory: Path) -> list[str]:
    """List what must not be in the picture: paths and addresses of this computer and its lab."""
    defaults = tomllib.loads(inventory.read_text())["defaults"]
    lab, registry = Path(defaults["identity_file"]).parent, str(defaults["registry"]).partition("://")[2]
    places = [inventory.parent, lab, paths.cache(), paths.REPOSITORY, Path.home(), Path(sys.prefix)]
    return [*map(str, places), registry, str(defaults["mirror"]), "127.0.0.1", tempfile.gettempdir()]


def taken(inventory: Path) -> list[tuple[str, str]]:
    """Run the commands; return each with its output.

    Raises:
        SystemExit: a command failed, or printed something private.
    """
    found = []
    for words, code in COMMANDS:
        said = throwaway.fab("-H", "hosts", *words, inventory=inventory, codes=(code,), shown=False)
        said = said.replace(str(inventory), throwaway.INVENTORY)
        if wrong := [text for text in private(inventory) if text in said]:
            raise SystemExit(f"fab {' '.join(words)} printed {', '.join(wrong)}:\n{said}")
        found.append((f"fab -H hosts {' '.join(words)}", said))
    return found


def drawn(outputs: list[tuple[str, str]]) -> str:
    """Return the SVG of a terminal with these commands and outputs; it is reproducible."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, highlight=False, _environ={})
        for number, (command, said) in enumerate(outputs):
            console.print(Text.assemble("\n" if number else "", ("$ ", "green"), (command, "bold")))
            console.print(Text(said.rstrip("\n"), overflow="fold"))
        svg = console.export_svg(title="containerd on device mapper", unique_id="deploy")
    # A page may not load fonts from elsewhere, so the reader's own are used.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def main(words: list[str]) -> int:
    """Take the picture."""
    parser = argparse.ArgumentParser(prog="python -m tests.picture", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--machine", default="", help="kind of the machine: kvm, uml, tcg or debian")
    kind = parser.parse_args(words).machine
    try:
        with throwaway.machine(kind=kind) as machine, tempfile.TemporaryDirectory() as place:
            svg = drawn(taken(inventory(machine.directory.parent, Path(place) / throwaway.INVENTORY)))
    except Problem as problem:
        print(problem, file=sys.stderr)
        return problem.code
    if len(svg.encode()) > BYTES:
        raise SystemExit(f"the picture has {len(svg.encode())} bytes, more than {BYTES}")
    PICTURE.write_text(svg)
    print(f"{PICTURE}: {len(svg.encode())} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
