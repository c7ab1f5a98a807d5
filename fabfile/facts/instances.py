"""Who uses which pool: the configuration of every containerd of the machine, and the settings of every pool of ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from fabfile import document
from fabfile.errors import Failed
from fabfile.keyvalue import settings

if TYPE_CHECKING:
    from fabfile.facts import Query

PLUGINS = ("io.containerd.snapshotter.v1.devmapper", "devmapper")
"""The snapshotter's table under `plugins`, in the formats of config.toml."""


NEEDED = {
    ("loop", True): ("DATA", "META", "BLOCK_SECTORS", "ASKED_BYTES", "ASKED_META_BYTES"),
    ("loop", False): ("DATA", "META", "BLOCK_SECTORS", "DATA_SECTORS", "META_BYTES"),
    ("direct", True): ("VG", "LV", "CHUNK_BYTES"),
    ("direct", False): ("VG", "LV", "CHUNK_BYTES"),
}
"""Variant of a pool, and whether its settings have ASKED_BYTES (version 0.1 had not) → what they cannot do without."""

NUMBERS = ("BLOCK_SECTORS", "CHUNK_BYTES", "ASKED_BYTES", "ASKED_META_BYTES", "DATA_SECTORS", "META_BYTES")
"""Those that are numbers, or several with a blank between them."""

NUMBER = re.compile(r"[0-9]{1,19}( [0-9]{1,19})*")


class Config(msgspec.Struct, frozen=True):
    """What a containerd is configured for; empty where its configuration has no such key."""

    root: str = ""
    pool: str = ""
    pool_root: str = ""
    """The snapshotter's own directory: its databases."""
    base_image_size: str = ""


class Instances(msgspec.Struct, frozen=True):
    """Every containerd and every pool of the machine, not only the ones in question."""

    configs: dict[str, Config] = {}
    """Path in /etc/containerd → what it says. What no unit names, or is no TOML, is not in it."""
    pools: dict[str, dict[str, str]] = {}
    """Name of a pool of ours → its settings."""
    active: frozenset[str] = frozenset()
    """Names of the thin pools that the kernel has, ours or not."""
    backing: dict[str, str] = {}
    """Name of such a pool → the file that the loop device of its data is on."""


def fragment(query: Query) -> str:
    """Print the files, each line behind `toml PATH|` or `conf PATH|`: there are a handful, of some lines each."""
    return r"""
set --
for f in /etc/containerd/*.toml; do
  [ "$f" = /etc/containerd/config.toml ] || grep -qsF -- "$f" /etc/systemd/system/*.service || continue
  [ ! -f "$f" ] || set -- "$@" "$f"
done
for f in /etc/devmapper-pool/*.conf; do [ ! -f "$f" ] || set -- "$@" "$f"; done
[ $# -eq 0 ] || awk '{ print substr(FILENAME, length(FILENAME) - 3) " " FILENAME "|" $0 }' "$@"
while read -r pool _ _ _ _ data _; do
  [ -n "$pool" ] || continue
  echo "active ${pool%:}"
  file=/sys/dev/block/$data/loop/backing_file
  if [ -r "$file" ] && read -r path <"$file"; then echo "backing ${pool%:} $path"; fi
done <<POOLS
$pools
POOLS
"""


def parse(text: str) -> Instances:
    """The fact in the fragment's output.

    Raises:
        Failed: the settings of a pool lack what every task needs of them.
    """
    files: dict[tuple[str, str], list[str]] = {}
    active: set[str] = set()
    backing: dict[str, str] = {}
    for line in text.split("\n"):
        kind, _, rest = line.partition(" ")
        if kind in ("toml", "conf"):
            path, _, content = rest.partition("|")
            files.setdefault((kind, path), []).append(content)
        elif kind == "active":
            active.add(rest)
        elif kind == "backing":
            name, _, path = rest.partition(" ")
            backing[name] = path
    configs = {path: _config("\n".join(content)) for (kind, path), content in files.items() if kind == "toml"}
    pools = {
        path.rpartition("/")[2].removesuffix(".conf"): _settings(path, "\n".join(content))
        for (kind, path), content in files.items()
        if kind == "conf"
    }
    return Instances(
        {path: config for path, config in configs.items() if config},
        pools,
        frozenset(active),
        backing,
    )


def _settings(path: str, text: str) -> dict[str, str]:
    found = settings(text)
    needed = NEEDED.get((found.get("VARIANT", "loop"), "ASKED_BYTES" in found), ())
    wrong = [f"{key} is missing" for key in needed if not found.get(key)]
    numbers = [key for key in needed if key in NUMBERS and found.get(key)]
    wrong += [f"{key} is no number: {found[key]!r:.100}" for key in numbers if not NUMBER.fullmatch(found[key])]
    if wrong or not needed:
        raise Failed(
            f"the record {path:.200} is damaged",
            "\n".join(wrong) or f"VARIANT is {found['VARIANT']!r:.100}",
            hint="fix the file by hand; move it away only if its pool is gone",
        )
    return found


def _config(text: str) -> Config | None:
    document.checked(text)  # too large is an error of its own: containerd may well use such a file
    try:
        content = document.loads(text)
    except ValueError:
        return None  # of whoever wrote it; our own is refused where it is edited
    plugins = content.get("plugins")
    tables = [plugins.get(name) for name in PLUGINS] if isinstance(plugins, dict) else []
    devmapper: dict[str, object] = next((table for table in tables if isinstance(table, dict)), {})
    said = (
        content.get("root", ""),
        devmapper.get("pool_name", ""),
        devmapper.get("root_path", ""),
        devmapper.get("base_image_size", ""),
    )
    return Config(*map(str, said))
