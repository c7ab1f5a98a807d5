"""What systemd says of the units that matter, and when a look at the pool last went well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fabfile.facts import Query

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Job",
    "Result",
    "MainPID",
    "InvocationID",
    "NeedDaemonReload",
    "ExecMainStartTimestampMonotonic",
    "ExecMainExitTimestampMonotonic",
)
"""What systemctl is asked for; one call serves every fact."""


MARKS = {"watched": "watched", "checked": "checked"}
"""End of the name of a mark in /run → what went well at its time."""

UDEV = 3
"""Seconds within which udev has to answer."""


class Unit(msgspec.Struct, frozen=True):
    """A unit of systemd's."""

    load: str = ""
    """`loaded`, `masked`, `not-found`."""
    active: str = ""
    """`active`, `inactive`, `failed`, `activating`."""
    result: str = ""
    """`success`, or why it failed: `exit-code`, `timeout`."""
    started: int | None = None
    """Seconds since its main process last started; None: never since the boot."""
    ended: int | None = None
    """Seconds since its main process last ended."""
    last: str = ""
    """The last line that its processes wrote, where it failed."""


class Units(msgspec.Struct, frozen=True):
    """The units in question, and when they last succeeded. Seconds by the host's clock, which may have jumped."""

    units: dict[str, Unit] = {}
    watched: int | None = None
    """Seconds since the monitor last looked without an error; None: not since the boot."""
    checked: int | None = None
    """Seconds since the metadata was last proved sound; None: not since the boot."""
    backup: int | None = None
    """Seconds since the newest backup of the metadata was made; None: there is none."""
    room: int | None = None
    """Bytes free in /run. Where it is full, udev answers nobody, and all that makes a device waits for it for ever."""

    silent: bool = False
    """udev runs and does not answer: whatever makes a device or takes one away waits for it for ever."""

    def of(self, name: str) -> Unit:
        """The unit `name`."""
        return self.units.get(name, Unit())


def fragment(query: Query) -> str:
    """Hand on what systemctl said; the journal is read only for a unit that failed."""
    from fabfile.target import quote

    name = quote(query.pool)
    return rf"""
name={name}
run='' failed=''
said() {{ timeout 10 journalctl -q -b --no-pager -o cat -n 1 _SYSTEMD_INVOCATION_ID="$1" 2>/dev/null; }}
read -r uptime _ </proc/uptime; echo "uptime ${{uptime%.*}}"
while IFS= read -r line; do
  echo "show $line"
  case $line in
    InvocationID=*) run=${{line#*=}} ;;
    ActiveState=failed) failed=1 ;;
    '')
      [ -z "$failed" ] || echo "last $run $(said "$run")"
      failed=''
      ;;
  esac
done <<SHOWN
$units

SHOWN
# Without its socket no udev runs here, and nobody waits for one.
if [ -S /run/udev/control ] && ! udevadm control --ping --timeout={UDEV} 2>/dev/null; then echo "silent yes"; fi
echo "room $(stat -f -c '%a %S' /run 2>/dev/null)"
set --
for mark in watched checked; do
  [ ! -e "/run/devmapper-pool/$name.$mark" ] || set -- "$@" "/run/devmapper-pool/$name.$mark"
done
for file in /var/lib/containerd-devmapper/backup/"$name"/*.xml.gz; do [ ! -e "$file" ] || set -- "$@" "$file"; done
[ $# -eq 0 ] || {{ echo "now $(date +%s)"; stat -c 'mark %Y %n' "$@"; }}
"""


def parse(text: str) -> Units:
    """The fact in the fragment's output."""
    blocks: list[dict[str, str]] = [{}]
    last: dict[str, str] = {}
    uptime = now = 0
    marks: dict[str, int] = {}
    room: int | None = None
    silent = False
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "show" and value:
            name, _, content = value.partition("=")
            blocks[-1][name] = content
        elif key == "show":
            blocks.append({})
        elif key == "last":
            run, _, said = value.partition(" ")
            last[run] = said
        elif key in ("uptime", "now"):
            uptime, now = (int(value), now) if key == "uptime" else (uptime, int(value))
        elif key == "room" and value:
            blocks_free, _, size = value.partition(" ")
            room = int(blocks_free) * int(size)
        elif key == "silent":
            silent = True
        elif key == "mark":
            at, _, path = value.partition(" ")
            what = MARKS[path.rpartition(".")[2]] if path.startswith("/run/") else "backup"
            marks[what] = max(marks.get(what, 0), int(at))
    found = {
        block["Id"]: _unit(block, uptime, last.get(block.get("InvocationID", ""), ""))
        for block in blocks
        if "Id" in block
    }
    return Units(found, room=room, silent=silent, **{what: max(now - at, 0) for what, at in marks.items()})


def _unit(block: dict[str, str], uptime: int, last: str) -> Unit:
    def ago(key: str) -> int | None:
        at = int(block.get(key) or 0)
        return max(uptime - at // 1_000_000, 0) if at else None

    return Unit(
        block.get("LoadState", ""),
        block.get("ActiveState", ""),
        block.get("Result", ""),
        ago("ExecMainStartTimestampMonotonic"),
        ago("ExecMainExitTimestampMonotonic"),
        last,
    )
