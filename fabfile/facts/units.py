"""The state of the units in question, and when the pool was last checked, backed up and inspected by its monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fabfile.facts.query import Query

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
    "KillMode",
    "ConditionResult",
    "AssertResult",
    "ConditionTimestampMonotonic",
    "FragmentPath",
    "DropInPaths",
)
"""Properties that systemctl prints; one call serves all facts."""


MARKS = frozenset({"watched", "checked", "backup"})
"""What succeeded at the modification time of a file: the extension of one in /run, or a backup."""

UDEV = 3
"""Seconds within which udev has to respond."""


class Unit(msgspec.Struct, frozen=True):
    """A unit of systemd's."""

    load: str = ""
    """`loaded`, `masked`, `not-found`."""
    active: str = ""
    """`active`, `inactive`, `failed`, `activating`."""
    result: str = ""
    """`success`, or why it failed: `exit-code`, `timeout`."""
    started: int | None = None
    """Seconds since its main process was last started; None: not since boot."""
    ended: int | None = None
    """Seconds since its main process last ended."""
    last: str = ""
    """The last line of its log, if it failed."""
    skipped: str = ""
    """The conditions in its files, one of which was not met at its last start, so systemd skipped that."""


class Units(msgspec.Struct, frozen=True):
    """The units in question, and when they last succeeded, by the host's clock, which may have been set meanwhile."""

    units: dict[str, Unit] = {}
    watched: int | None = None
    """Seconds since the monitor last ran without an error; None: not since boot."""
    checked: int | None = None
    """Seconds since the metadata was last found sound; None: not since boot."""
    backup: int | None = None
    """Seconds since the newest backup of the metadata was made; None: there is none."""
    unfinished: str = ""
    """Backup from which the metadata is being restored; empty: no restore was interrupted."""
    room: int | None = None
    """Free bytes in /run. If it is full, udev does not respond, and whatever creates a device waits for it."""

    silent: bool = False
    """udev runs but does not respond, so whatever creates or removes a device hangs."""

    def of(self, name: str) -> Unit:
        """Return the unit `name`; one without a state if it is not known."""
        return self.units.get(name, Unit())


def fragment(query: Query) -> str:
    """Pass on what systemctl printed; the journal is read only for a unit that failed."""
    from fabfile.shell import quote

    name = quote(query.pool)
    return rf"""
name={name}
run='' failed='' shown='' skipped='' tried='' files=''
conditions() {{
  awk '/^[ \t]*(Condition|Assert|ExecCondition)[A-Za-z]*[ \t]*=./ {{
    said = said (said ? "; " : "") FILENAME ":" FNR ": " $0
  }} END {{ print said ? said : "a condition" }}' "$@"
}}
said() {{ timeout 10 journalctl -q -b --no-pager -o cat -n 1 _SYSTEMD_INVOCATION_ID="$1" 2>/dev/null; }}
rest=$units$nl$nl
while next_line; do
  [ -z "$line" ] || shown="${{shown}}show $line$nl"
  case $line in
    InvocationID=*) run=${{line#*=}} ;;
    ActiveState=failed) failed=1 ;;
    Result=exec-condition) skipped=yes tried=yes ;;
    ConditionResult=no | AssertResult=no) skipped=yes ;;
    ConditionTimestampMonotonic=[1-9]*) tried=yes ;;
    FragmentPath=* | DropInPaths=*) files="$files ${{line#*=}}" ;;
    '')
      # shellcheck disable=SC2086 # names of files without spaces
      case $skipped$tried$files in yesyes*/*) shown="${{shown}}show Skipped=$(conditions $files)$nl" ;; esac
      skipped='' tried='' files=''
      shown="${{shown}}show $nl"
      [ -z "$failed" ] || shown="${{shown}}last $run $(said "$run")$nl"
      failed=''
      ;;
  esac
done
# Each line on its own would be a packet.
printf '%s\n%sroom %s\n' "uptime $uptime" "$shown" "$room"
[ "$udev" != silent ] || echo "silent yes"
set --
for mark in watched checked; do
  [ ! -e "/run/devmapper-pool/$name.$mark" ] || set -- "$@" "/run/devmapper-pool/$name.$mark"
done
backups=/var/lib/containerd-devmapper/backup/$name
if [ -e "$backups/unfinished" ] && read -r backup <"$backups/unfinished"; then echo "unfinished $backup"; fi
for file in "$backups"/*.xml.gz; do [ ! -e "$file" ] || set -- "$@" "$file"; done
[ $# -eq 0 ] || {{ echo "now $(date +%s)"; stat -c 'mark %Y %n' "$@"; }}
"""


def parse(text: str) -> Units:
    """Parse the fragment's output."""
    blocks: list[dict[str, str]] = [{}]
    last: dict[str, str] = {}
    uptime = now = 0
    marks: dict[str, int] = {}
    room: int | None = None
    silent, unfinished = False, ""
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
        elif key == "uptime":
            uptime = int(value)
        elif key == "now":
            now = int(value)
        elif key == "room" and value:
            blocks_free, _, size = value.partition(" ")
            room = int(blocks_free) * int(size)
        elif key == "silent":
            silent = True
        elif key == "unfinished":
            unfinished = value
        elif key == "mark":
            at, _, path = value.partition(" ")
            what = path.rpartition(".")[2] if path.startswith("/run/") else "backup"
            if what not in MARKS:
                raise ValueError(f"unknown mark: {path}")
            marks[what] = max(marks.get(what, 0), int(at))
    found = {
        block["Id"]: _unit(block, uptime, last.get(block.get("InvocationID", ""), ""))
        for block in blocks
        if "Id" in block
    }
    ages = {what: max(now - at, 0) for what, at in marks.items()}
    return Units(found, room=room, silent=silent, unfinished=unfinished, **ages)


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
        block.get("Skipped", ""),
    )
