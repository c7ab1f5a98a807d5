"""Who uses which pool: the configuration of every containerd on the host, and the record of every pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fabfile import untrusted_toml
from fabfile.facts import record
from fabfile.facts.record import Record
from fabfile.keyvalue import settings

if TYPE_CHECKING:
    from fabfile.facts.query import Query

PLUGINS = ("io.containerd.snapshotter.v1.devmapper", "devmapper")
"""Names of the snapshotter's table under `plugins`, in the formats of config.toml."""


class DevmapperSettings(msgspec.Struct, frozen=True):
    """What a containerd is configured for; empty if its configuration lacks the key."""

    root: str = ""
    pool: str = ""
    pool_root: str = ""
    """Directory of the snapshotter's databases."""
    base_image_size: str = ""


class Instances(msgspec.Struct, frozen=True):
    """Every containerd and every pool on the machine, not only those in question."""

    configs: dict[str, DevmapperSettings] = {}
    """Path in /etc/containerd → its settings. Files that no unit names, or that are not TOML, are left out."""
    settings: dict[str, dict[str, str]] = msgspec.field(default={}, name="pools")
    """Name of a pool that this tool manages → the lines of its record."""
    active: frozenset[str] = frozenset()
    """Names of all active thin pools, including those of others."""
    backing: dict[str, str] = {}
    """Name of an active pool → the file behind the loop device of its data."""

    @property
    def pools(self) -> dict[str, Record]:
        """Name of a pool that this tool manages → its record."""
        return {name: record.read(record.conf(name), settings) for name, settings in self.settings.items()}


def fragment(query: Query) -> str:
    """Print the files, each line after `toml PATH|` or `conf PATH|`; they are few and short."""
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
    """Parse the fragment's output.

    Raises:
        Failed: the record of a pool is damaged.
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


def _config(text: str) -> DevmapperSettings | None:
    untrusted_toml.checked(text)  # a file that is too large is an error: containerd may well use it
    try:
        content = untrusted_toml.loads(text)
    except ValueError:
        return None  # the file of somebody else; our own is refused where it is edited
    plugins = content.get("plugins")
    tables = [plugins.get(name) for name in PLUGINS] if isinstance(plugins, dict) else []
    devmapper: dict[str, object] = next((table for table in tables if isinstance(table, dict)), {})
    said = (
        content.get("root", ""),
        devmapper.get("pool_name", ""),
        devmapper.get("root_path", ""),
        devmapper.get("base_image_size", ""),
    )
    return DevmapperSettings(*map(str, said))
