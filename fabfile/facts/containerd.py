"""The containerd daemon: its origin, what runs, and the state of its plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fabfile.facts.proof import SILENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fabfile.facts.query import Query

SETTINGS = "CONTAINERD_DEVMAPPER_SETTINGS"
"""Environment variable of the daemon, set by its drop-in: the digest of the settings that it was started with."""


class Plugin(msgspec.Struct, frozen=True):
    """A row of `ctr plugins ls`."""

    type: str
    id: str
    status: str


KEEPING = ("", "process", "none")
"""KillMode of a unit whose stop leaves the containers alone; empty: unknown."""


class KillLine(msgspec.Struct, frozen=True):
    """A line `KillMode=` in a drop-in."""

    path: str
    """Path of the drop-in."""
    line: int
    """Its number, from 1."""
    mode: str
    """Its value."""


class Containerd(msgspec.Struct, frozen=True):
    """The containerd in question."""

    foreign: str | None = None
    """Path of a containerd that this tool did not install, such as a distribution's package."""
    package: str = ""
    """Package that owns it."""
    active: bool = False
    changing: str = ""
    """State of its unit, if that is still starting or stopping after `prelude.WAIT` seconds."""
    enabled: bool = False
    stale: bool = False
    """systemd has loaded an older version of its unit than is on disk."""
    kill_mode: str = ""
    """KillMode of its unit, as systemd has loaded it."""
    kill_line: KillLine | None = None
    """The line of a drop-in that decides its KillMode once systemd has read the files; None: the unit does."""
    containers: tuple[str, ...] = ()
    """A line about each one that runs; known only if a stop of containerd would, or soon will, kill them."""
    exe: str | None = None
    """What the running daemon was started from; it ends with ` (deleted)` if that was replaced."""
    current: str = ""
    """What is to run: the program below /opt/containerd/current, without symbolic links; empty: there is none."""
    command: str = ""
    """Its command line."""
    settings: str | None = None
    """Digest of the settings that it was started with."""
    loaded: str = ""
    """`Config.digest` at the time it was started; empty if its unit does not record that yet."""
    plugins: tuple[Plugin, ...] = ()
    reason: str = ""
    """containerd's error about a devmapper plugin that is not ok."""

    def plugin(self, type: str, id: str) -> Plugin | None:
        """Return the plugin of a type, without its prefix `io.containerd.` and its version, and an id."""
        return next((p for p in self.plugins if f".{type}." in p.type and p.id == id), None)


UNIT_DIRS = (
    *("/etc/systemd/system", "/run/systemd/system"),
    *("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"),
)
"""Where systemd looks for drop-ins; of two with the same name, the first one counts."""


def fragment(query: Query) -> str:
    """Query systemd, /proc and the daemon; ctr is run only if the daemon is active."""
    from fabfile.render import render
    from fabfile.shell import quote

    program, ctr, loaded = quote(f"{query.bin_dir}/ctr"), query.daemon.ctr, quote(query.daemon.loaded_path)
    places = " ".join(f"{dir}/service.d {dir}/{quote(query.daemon.unit)}.d" for dir in UNIT_DIRS)
    keeping = " | ".join(mode or "''" for mode in KEEPING)
    return rf"""
for b in /usr/bin/containerd /usr/sbin/containerd /bin/containerd; do
  if [ -e "$b" ]; then
    echo "foreign $b"
    if command -v dpkg >/dev/null; then
      dpkg -S "$b" 2>/dev/null | sed -n '1s/:.*//;1s/^/package /p'
    elif command -v rpm >/dev/null; then
      rpm -q --qf 'package %{{NAME}}\n' -f "$b" 2>/dev/null
    fi
    break
  fi
done
unit 1 NeedDaemonReload; [ "$value" != yes ] || echo "stale yes"
unit 1 MainPID; pid=$value
unit 1 ActiveState; active=$value
echo "active $active"; way 1
unit 1 KillMode; kills=''
case $value in {keeping}) ;; *) kills=yes ;; esac
echo "kill $value"
set --
for dir in {places}; do
  for f in "$dir"/*.conf; do [ ! -f "$f" ] || set -- "$@" "$f"; done
done
if [ $# -gt 0 ]; then
  lines=$(awk '/^[ \t]*KillMode[ \t]*=/ {{ sub(/^[^=]*=[ \t]*/, ""); print "killing", FNR, $1, FILENAME }}' "$@")
  [ -z "$lines" ] || {{ kills=yes; printf '%s\n' "$lines"; }}
fi
if [ -n "$kills" ]; then
  {render("containerd/running.sh.j2", daemon=query.daemon)}
  running | sed 's/^/runs /'
fi
[ ! -L "/etc/systemd/system/multi-user.target.wants/{query.daemon.unit}" ] || echo "enabled yes"
[ "${{pid:-0}}" -gt 0 ] || exit 0
echo "exe $(readlink "/proc/$pid/exe")"
if cd -P /opt/containerd/current/bin 2>/dev/null; then echo "current $PWD/containerd"; cd /; fi
if [ -r {loaded} ] && read -r digest <{loaded}; then echo "loaded $digest"; fi
echo "command $(tr '\000' ' ' <"/proc/$pid/cmdline")"
rest=$(tr '\000' '\n' <"/proc/$pid/environ")
while next_line; do
  case $line in {SETTINGS}=*) echo "settings ${{line#*=}}" ;; esac
done
[ "$active" = active ] && [ -x {program} ] || exit 0
rows=$(timeout 20 {ctr} plugins ls </dev/null 2>&1) ||
  {{ printf '%s\n' "${{rows:-{SILENT}}}" | sed 's/^/reason /'; exit 0; }}
awk '
  /^io\.containerd\..*(snapshotter|transfer|grpc|cri)/ {{ print "plugin", $1, $2, $NF }}
  $2 == "devmapper" && $NF == "ok" {{ ok = 1 }}
  END {{ exit !ok }}' <<ROWS || timeout 20 {ctr} plugins ls -d id==devmapper </dev/null 2>&1 |
$rows
ROWS
  sed -n 's/^ *Message: */reason /p'
"""


def parse(text: str) -> Containerd:
    """Parse the fragment's output."""
    found: dict[str, str] = {}
    plugins, reasons, kills, containers = [], [], [], []
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "plugin":
            type, id, status = value.split()
            plugins.append(Plugin(type, id, status))
        elif key == "killing":
            number, mode, path = value.split(" ", 2)
            kills.append(KillLine(path, int(number), mode))
        elif key == "runs":
            containers.append(value)
        elif key == "reason":
            reasons.append(value)
        else:
            found[key] = value.strip()
    return Containerd(
        foreign=found.get("foreign"),
        package=found.get("package", ""),
        active=found.get("active") == "active",
        changing=found.get("changing", ""),
        enabled="enabled" in found,
        stale="stale" in found,
        kill_mode=found.get("kill", ""),
        kill_line=_effective(kills),
        containers=tuple(containers),
        exe=found.get("exe") or None,
        current=found.get("current", ""),
        command=found.get("command", ""),
        settings=found.get("settings"),
        loaded=found.get("loaded", ""),
        plugins=tuple(plugins),
        reason="\n".join(reasons),
    )


def _effective(lines: Sequence[KillLine]) -> KillLine | None:
    """The last line in systemd's order: drop-ins for all services, then those of the unit, each sorted by name."""
    last: dict[tuple[bool, str], KillLine] = {}
    for line in lines:
        dir, _, name = line.path.rpartition("/")
        place = (not dir.endswith("/service.d"), name)
        if place not in last or last[place].path == line.path:
            last[place] = line
    return last[max(last)] if last else None
