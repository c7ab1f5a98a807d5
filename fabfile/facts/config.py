"""What a containerd is configured for: every file that it reads, in order, and what containerd itself makes of them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from fabfile.facts import toml_lines
from fabfile.facts.proof import SILENT

if TYPE_CHECKING:
    from fabfile.facts.query import Query

DEVMAPPER = "io.containerd.snapshotter.v1.devmapper"
IMAGES = "io.containerd.cri.v1.images"
TRANSFER = "io.containerd.transfer.v1.local"
NRI = "io.containerd.nri.v1.nri"
SERVER = "io.containerd.server.v1"

DISABLED = "disabled_plugins"

KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "root": (("root",),),
    "state": (("state",),),
    "address": (("grpc", "address"), ("plugins", f"{SERVER}.grpc", "address")),
    DISABLED: ((DISABLED,),),
    **{
        key: (("plugins", DEVMAPPER, key), ("plugins", "devmapper", key))
        for key in ("pool_name", "root_path", "base_image_size")
    },
    "snapshotter": (
        ("plugins", IMAGES, "snapshotter"),
        ("plugins", "io.containerd.grpc.v1.cri", "containerd", "snapshotter"),
        ("plugins", "cri", "containerd", "snapshotter"),
    ),
    "unpack_config": (("plugins", TRANSFER, "unpack_config"),),
    "socket_path": (("plugins", NRI, "socket_path"),),
}
"""A setting that matters to us → where it is in a file, from the newest format to the oldest."""


class Value(msgspec.Struct, frozen=True):
    """A setting in a file."""

    text: str
    """As text; the items of a list, a line each."""
    line: int
    """Number of the line that it is in, from 1; 0 if not found."""


class ConfigFile(msgspec.Struct, frozen=True):
    """A file that containerd reads."""

    path: str
    """Path of the file."""
    digest: str = ""
    """Digest of its text."""
    values: dict[str, Value] = {}
    """Key of `KEYS` → value."""
    sections: dict[str, int] = {}
    """Plugin that the file has a table for, in any format → line. Before 2.0 such a table replaces all earlier ones."""
    disabled: dict[str, int] = {}
    """Plugin in its `disabled_plugins` → line."""
    problem: str = ""
    """Why it cannot be read."""


class Config(msgspec.Struct, frozen=True):
    """What determines how a containerd runs."""

    sources: tuple[ConfigFile, ...] = ()
    """The configuration file and its imports, in the order in which containerd merges them; empty without a file."""
    dump: dict[str, str] | None = None
    """What the installed containerd makes of them, for `KEYS`; None if there is no file, or containerd fails."""
    digest: str = ""
    """Digest of the complete configuration that containerd makes of them."""
    problem: str = ""
    """Errors that containerd, or its output, has."""
    commands: dict[str, str] = {}
    """Drop-in of its unit that this tool did not write → the ExecStart in it, which is how containerd is started."""


FILES = r"""
imports() {
  awk '
    on == 0 && /^[ \t]*\[/ { exit }
    on == 0 && /^[ \t]*["\047]?imports["\047]?[ \t]*=/ { on = 1; sub(/^[^=]*=/, "") }
    on {
      while (match($0, /"[^"]*"|\047[^\047]*\047|#.*|\]/)) {
        word = substr($0, RSTART, RLENGTH)
        $0 = substr($0, RSTART + RLENGTH)
        if (word == "]") exit
        if (word !~ /^#/) print substr(word, 2, length(word) - 2)
      }
    }' "$1"
}
read_all() {
  seen='' IFS=''
  while [ $# -gt 0 ]; do
    file=$1
    shift
    case "$seen" in *"|$file|"*) continue ;; esac
    seen="$seen|$file|"
    echo "source $file"
    if [ ! -f "$file" ]; then echo "missing $file"; continue; fi
    awk '{ print "text " $0 }' "$file"
    while read -r import; do
      case $import in '') continue ;; /*) ;; *) import=${file%/*}/$import ;; esac
      for path in $import; do
        case $path in
          *'*'*) continue ;; # a pattern that matched nothing
          */./* | */../*) path=$(realpath -ms -- "$path") ;;
        esac
        set -- "$@" "$path"
      done
    done <<IMPORTS
$(imports "$file")
IMPORTS
  done
}
"""
"""Shell functions: print the files that a file imports, and print the text of a file and of everything it imports."""

SHOWN = r"""awk '/^[ \t]*\[/ {
  off = 1
  if (/devmapper|transfer\.v1\.local|server\.v1\.grpc["\047]?\]|^[ \t]*\[grpc\]|cri\.v1\.images["\047]?\]/) off = 0
  if (/(grpc\.v1\.cri["\047]?|[ .]cri)\.containerd\]/ || /nri\.v1\.nri["\047]?\]|^[ \t]*\[plugins\]/) off = 0
} !off { print "dump " $0 }'"""
"""The part of a dump with `KEYS`. The rest does not leave the host, as it may contain passwords of registries."""


SUM = "grep -v '^imports = ' | sha256sum"
"""Shell: print the digest of a dump and a file name. Before 2.0 the imports in a dump are in random order."""

LENGTH = 16
"""Number of the digest's characters that are used."""

DIGEST = f"{SUM} | cut -c 1-{LENGTH}"
"""Shell: print the digest of a dump as it is recorded."""


def fragment(query: Query) -> str:
    """Print the files, what containerd makes of them, and drop-ins that start it in another way."""
    from fabfile.shell import quote

    daemon = query.daemon
    program, file, unit = quote(f"{query.bin_dir}/containerd"), quote(daemon.config_path), quote(daemon.unit)
    return rf"""
for dir in /etc /run /usr/local/lib /usr/lib /lib; do
  for f in "$dir/systemd/system/"{unit}.d/*.conf; do
    if [ ! -f "$f" ] || [ "$f" = {quote(daemon.drop_in_path)} ]; then continue; fi
    awk -v of="$f" '/^[ \t]*ExecStart[ \t]*=/ {{
      sub(/^[^=]*=[ \t]*/, "")
      if ($0 != "") print "command " of "|" $0
    }}' "$f"
  done
done
[ -f {file} ] || exit 0
{FILES}
(read_all {file})
[ -x {program} ] || exit 0
load() {{ cd / && timeout 20 {program} --config {file} config dump </dev/null; }}
if dump=$(load 2>/dev/null); then
  printf '%s\n' "$dump" | {SHOWN}
  printf 'digest '; printf '%s\n' "$dump" | {SUM}
else
  said=$(load 2>&1 >/dev/null | sed '/^time=[^ ]* level=\(info\|warning\) /d')
  printf '%s\n' "${{said:-{SILENT}}}" | sed 's/^/problem /'
fi
"""


def parse(text: str) -> Config:
    """Parse the fragment's output."""
    texts: dict[str, list[str]] = {}
    missing, dump, problem, digest = set[str](), list[str](), list[str](), ""
    commands: dict[str, str] = {}
    path = ""
    for line in text.split("\n"):  # splitlines would also split at a form feed within a line
        kind, _, rest = line.partition(" ")
        if kind == "source":
            path = rest
            texts[path] = []
        elif kind == "text":
            texts[path].append(rest)
        elif kind == "missing":
            missing.add(rest)
        elif kind == "dump":
            dump.append(rest)
        elif kind == "digest":
            digest = rest[:LENGTH]
        elif kind == "problem":
            problem.append(rest)
        elif kind == "command":
            unit, _, command = rest.partition("|")
            commands[unit] = command
    sources = tuple(
        ConfigFile(path, problem="there is no such file") if path in missing else source(path, "\n".join(lines) + "\n")
        for path, lines in texts.items()
    )
    settings, wrong = _dumped("\n".join(dump))
    return Config(sources, settings if dump else None, digest, "\n".join([*problem, *wrong]), commands)


def _dumped(text: str) -> tuple[dict[str, str] | None, list[str]]:
    """Parse a dump into values, or errors; these never contain its text, in which there may be a password."""
    import tomllib

    try:
        return values(tomllib.loads(text)), []
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return None, [f"config dump is not TOML: {error}"]


def source(path: str, text: str) -> ConfigFile:
    """Parse the settings in a file that matter to us, with their lines."""
    import tomllib

    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return ConfigFile(path, digest, problem=f"it is not TOML: {error}")
    lines = toml_lines.begins(text)
    found = {
        key: Value(
            value, next(toml_lines.find(lines, place) for place in KEYS[key] if _at(document, place) is not None)
        )
        for key, value in values(document).items()
    }
    plugins = document.get("plugins")
    names = plugins if isinstance(plugins, dict) else {}
    disabled = found.pop(DISABLED, Value("", 0))
    return ConfigFile(
        path,
        digest,
        found,
        {name: toml_lines.find(lines, ("plugins", name)) for name in names},
        {name: _item(text, name, disabled.line) for name in disabled.text.split()},
    )


def values(document: dict[str, Any]) -> dict[str, str]:
    """Return the settings in a document, by key of `KEYS`, as text."""
    found: dict[str, str] = {}
    for key, places in KEYS.items():
        found_values = [value for place in places if (value := _at(document, place)) is not None]
        if found_values:
            found[key] = _text(found_values[0])
    return found


def _at(document: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _text(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    return "\n".join(
        f"{item.get('platform', '')} {item.get('snapshotter', '')}" if isinstance(item, dict) else str(item)
        for item in value
    )


def _item(text: str, name: str, begin: int) -> int:
    """The line with an item of the list that begins in line `begin`."""
    for number, line in enumerate(text.split("\n"), 1):
        if number >= begin and name in line.partition("#")[0]:
            return number
    return begin
