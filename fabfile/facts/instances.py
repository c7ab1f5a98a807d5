"""Who uses which pool: the configuration of every containerd of the machine, and the settings of every pool of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fabfile import document
from fabfile.facts import record
from fabfile.facts.record import Record
from fabfile.keyvalue import settings

if TYPE_CHECKING:
    from fabfile.facts import Query

PLUGINS = ("io.containerd.snapshotter.v1.devmapper", "devmapper")
"""The snapshotter's table under `plugins`, in the formats of config.toml."""


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
    settings: dict[str, dict[str, str]] = msgspec.field(default={}, name="pools")
    """Name of a pool of ours → its settings."""
    active: frozenset[str] = frozenset()
    """Names of the thin pools that the kernel has, ours or not."""
    backing: dict[str, str] = {}
    """Name of such a pool → the file that the loop device of its data is on."""

    @property
    def pools(self) -> dict[str, Record]:
        """Name of a pool of ours → its record."""
        return {name: record.read(record.conf(name), settings) for name, settings in self.settings.items()}


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
        Failed: the record of a pool cannot be understood.
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
    pools = {path: settings("\n".join(content)) for (kind, path), content in files.items() if kind == "conf"}
    for path, found in pools.items():
        record.read(path, found)
    return Instances(
        {path: config for path, config in configs.items() if config},
        {path.rpartition("/")[2].removesuffix(".conf"): found for path, found in pools.items()},
        frozenset(active),
        backing,
    )


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
