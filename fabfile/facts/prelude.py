"""The beginning of the facts script: what several fragments need, found once.

What takes time on a host is to start programs and subshells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fabfile.facts import units
from fabfile.shell import quote

if TYPE_CHECKING:
    from fabfile.facts.query import Query

WAIT = 60
"""Seconds that the script waits for units that are starting or stopping."""

LVM_WAIT = 60
"""Seconds within which LVM has to answer: each of its commands waits for those that hold the lock of the group."""

BRIEFLY = 3
"""Seconds that it waits for the pool's monitor. A run may take long if it enlarges the pool, but until it ends, systemd
does not report how the last one ended."""

NEXT_LINE = """
nl='
'
next_line() {
  [ -n "$rest" ] || return 1
  line=${rest%%"$nl"*}
  rest=${rest#"$line"} rest=${rest#"$nl"}
}
"""
"""Shell function that moves the first line of `rest` to `line`; `read` would make a system call for each character."""

AT_REST = """
at_rest() {
  n=1 changing='' rest=$units
  while next_line; do
    case $line in
      '') n=$((n + 1)) ;;
      Job=[1-9]* | SubState=condition | SubState=start* | SubState=stop* | SubState=final* | SubState=reload*)
        [ "$n" = "$1" ] || changing="${changing% "$n"} $n" ;;
    esac
  done
  [ -z "$changing" ]
}
"""
"""Shell function that tells whether the units in `units`, as systemctl printed them, are at rest, but for unit $1.

`changing` gets the numbers of the others. At boot, or after a restart, a unit is not yet in its final state while it
has a job, even one that waits for other units, or while it starts or stops. One that failed and waits for its next
start (auto-restart) is at rest: it does not run.
"""

CLOCK = """
uptime='0'
clock() {
  monotonic=''
  { read -r _; read -r _; read -r _ _ monotonic _; } 2>/dev/null </proc/timer_list
  case $monotonic in '' | *[!0-9]*) read -r uptime _ </proc/uptime ;; *) uptime=${monotonic%?????????} ;; esac
  uptime=${uptime%.*}
}
"""
"""Shell function that sets `uptime` to the seconds of the clock of systemd's times, which unlike the uptime does not
count the time that a machine sleeps."""

UNITS = """
units='' changing=''
{next_line}{at_rest}{clock}
if [ -d /run/systemd/system ]; then
  tries={tries} aside=''
  while :; do
    units=$(systemctl show {properties} {units} 2>/dev/null) ||
      {{ echo "systemctl does not answer: $(systemctl show -p ActiveState {units} 2>&1)"; exit 0; }}
    clock
    [ "$tries" -gt {patient} ] || aside=4
    if at_rest "$aside" || [ "$tries" -le 0 ]; then break; fi
    tries=$((tries - 1))
    sleep 0.5
  done
fi
way() {{
  case " $changing " in *" $1 "*) ;; *) return 0 ;; esac
  unit "$1" ActiveState; state=$value; unit "$1" SubState
  echo "changing $state ($value)"
}}
unit() {{
  n=1 rest=$units
  while next_line; do
    case $n$line in
      "$1$2="*) value=${{line#*=}}; return 0 ;;
      "$n") n=$((n + 1)) ;;
    esac
  done
  value=''
}}
"""
"""Wait until the units are at rest: containerd, the pool, the timer of its monitor, and the monitor, which may run at
any time. `unit N PROPERTY` sets `value` to what systemctl printed for the N-th unit; `way N` prints the state of a unit
that did not come to rest; `uptime` is of the moment when systemctl was asked, as other facts may take a minute."""

POOLS = """
pools='' held=''
if [ -e /sys/class/misc/device-mapper ] && command -v dmsetup >/dev/null; then
  pools=$(dmsetup table --target thin-pool 2>/dev/null)
  case $pools in
    *:*) held=$(dmsetup info -c --noheadings --separator : -o suspended,major,minor,uuid {pool} 2>/dev/null) ;;
    *) pools='' ;;
  esac
fi
"""
"""Set `pools` to all thin pools, a line `NAME: TABLE` each, and `held` to the device of the pool in question:
SUSPENDED:MAJOR:MINOR:UUID. Both are empty if there is none."""

RUN = """
room=$(stat -f -c '%a %S' /run 2>/dev/null)
udev=''
if [ -S /run/udev/control ]; then
  udev=silent
  said=$(udevadm control --ping --timeout={udev_limit} 2>&1) && udev=answers
  # Systemd has the option since 241.
  case $said in *'unrecognized option'*) udev=unasked ;; esac
fi
"""
"""Set `room` to the free space in /run, BLOCKS SIZE, and `udev` to `answers`, `silent`, or `unasked` if it cannot be
asked. It is empty if udev does not run; then nothing waits for it."""

LVM = """
{find_suspended}find_suspended
plain='{plain}'
asked() {{
  reply=$(timeout -s KILL {lvm_wait} "$@" 2>/dev/null)
  [ $? -ne 137 ] || {{ echo "busy yes"; exit 0; }}
}}
"""
"""Set `suspended` to the suspended devices, for which LVM would hang. `asked COMMAND...` sets `reply` to what
LVM says; if that takes too long, it ends the fragment. LVM blocks all other signals while it waits for a lock. `plain`
is configuration with which reports have the format that is parsed here, whatever lvm.conf says."""

USES = (
    (UNITS, {"containerd", "pool", "smoke", "units"}),
    (POOLS, {"pool", "instances", "smoke", "proof"}),
    (RUN, {"proof", "units"}),
    (LVM, {"pool", "lvm"}),
)
"""The parts, and the facts whose fragments use them."""


def text(query: Query, names: Sequence[str]) -> str:
    """Return the parts that some of the facts use.

    Args:
        query: what the facts are about.
        names: names of the facts.
    """
    from fabfile.render import render

    monitor = f"devmapper-pool-monitor@{query.pool}"
    systemd = (query.daemon.unit, f"devmapper-pool@{query.pool}.service", f"{monitor}.timer", f"{monitor}.service")
    return "".join(part for part, users in USES if users & set(names)).format(
        next_line=NEXT_LINE,
        at_rest=AT_REST,
        clock=CLOCK,
        tries=WAIT * 2,
        patient=(WAIT - BRIEFLY) * 2,
        properties=" ".join(f"-p {name}" for name in units.PROPERTIES),
        units=" ".join(map(quote, systemd)),
        pool=quote(query.pool),
        udev_limit=units.UDEV,
        find_suspended=render("pool/suspended.sh.j2"),
        lvm_wait=LVM_WAIT,
        plain=render("pool/plain.j2"),
    )
