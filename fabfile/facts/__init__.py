"""The state of a machine. A fact is a shell fragment and a pure parser; one script gathers all in one round trip."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fabfile import target
from fabfile.errors import Failed
from fabfile.facts import (
    config,
    containerd,
    disks,
    files,
    instances,
    known,
    lvm,
    pool,
    programs,
    proof,
    smoke,
    system,
    units,
    userland,
    versions,
)
from fabfile.facts.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fabfile.context import Context


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a host; what does not exist is null."""

    system: system.System
    userland: userland.Userland = userland.Userland()
    needs: frozenset[str]
    versions: dict[str, versions.Versions]
    files: dict[str, files.FileFact]
    containerd: containerd.Containerd
    config: config.Config = config.Config()
    """The files that containerd reads, and what it makes of them."""
    pool: pool.Pool
    instances: instances.Instances
    smoke: smoke.Smoke | None
    proof: str | None = None
    """Empty: containerd has just made a snapshot on the pool; otherwise why it could not. None: this was not tried."""
    units: units.Units = units.Units()
    known: known.Known = known.Known()
    lvm: lvm.Lvm | None = None
    disks: tuple[disks.Disk, ...] = ()


class Unasked:
    """In place of a fact that the query did not ask for; a plan that reads it is a mistake in this program."""

    def __init__(self, name: str) -> None:
        self.name = name

    def refuse(self, *_: object) -> Any:
        """Have no value.

        Raises:
            LookupError: always.
        """
        raise LookupError(f"the query did not ask for the fact {self.name}")

    __getattr__ = __contains__ = __iter__ = refuse


class Fact(Protocol):
    """What every module in `MODULES` provides; mypy checks it."""

    def fragment(self, query: Query, /) -> str:
        """Return the shell script that prints what `parse` reads, in a subshell; empty: nothing is to be printed."""

    def parse(self, text: str, /) -> Any:
        """Parse what the fragment printed into the value of the field of `Facts`.

        Raises:
            LookupError: the output is not understood.
            ValueError: the same.
        """


MODULES: dict[str, Fact] = {
    "system": system,
    "userland": userland,
    "needs": programs,
    "versions": versions,
    "files": files,
    "containerd": containerd,
    "config": config,
    "pool": pool,
    "instances": instances,
    "smoke": smoke,
    "proof": proof,
    "units": units,
    "known": known,
    "lvm": lvm,
    "disks": disks,
}


BESIDE = tuple(name for name in MODULES if name not in ("system", "userland", "needs", "versions", "disks"))
"""Facts that depend on which containerd and pool a query is about. Disks are not among them: a query names its own."""

WAIT = 60
"""Seconds that the script waits for units that are starting or stopping."""

BRIEFLY = 3
"""Seconds that it waits for the pool's monitor. A run may take long if it enlarges the pool, but until it ends, systemd
does not report how the last one ended."""

SHOWN = 2000
"""Limit for the characters of a fragment's output in an error."""

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

# What takes time here is to start programs and subshells, so what several fragments need is found once. `unit N
# PROPERTY` sets `value` to what systemctl printed for the N-th unit; `way N` prints the state of a unit that did not
# come to rest. The units are containerd's, the pool's, the timer of its monitor, and the monitor, which may run at any
# time. `pools` has all thin pools, a line `NAME: TABLE` each, and `held` the pool's device: SUSPENDED:MAJOR:MINOR:UUID.
# `room` is the free space in /run, BLOCKS SIZE. `udev` is empty if udev does not run; then nothing waits for it.
UNITS = """
units='' changing=''
{next_line}{at_rest}
if [ -d /run/systemd/system ]; then
  tries={tries} aside=''
  while :; do
    units=$(systemctl show {properties} {units} 2>/dev/null) ||
      {{ echo "systemctl does not answer: $(systemctl show -p ActiveState {units} 2>&1)"; exit 0; }}
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

RUN = """
room=$(stat -f -c '%a %S' /run 2>/dev/null)
udev=''
if [ -S /run/udev/control ]; then
  udev=silent
  if udevadm control --ping --timeout={udev_limit} 2>/dev/null; then udev=answers; fi
fi
"""

USES = (
    (UNITS, {"containerd", "pool", "smoke", "units"}),
    (POOLS, {"pool", "instances", "smoke", "proof"}),
    (RUN, {"proof", "units"}),
)
"""What the script begins with, and the facts whose fragments use it."""


ALWAYS = ("system", "units")
"""Names of the facts without which nothing is changed, see `apply`."""


def asked(query: Query) -> tuple[str, ...]:
    """Names of the facts that a query asks for, in the order of `MODULES`."""
    return tuple(name for name in MODULES if not query.only or name in (*ALWAYS, *query.only))


@lru_cache(64)  # the hosts of a fleet are asked the same
def script(query: Query, names: tuple[str, ...] = ()) -> str:
    """Compose the facts script: each fragment in a subshell, after a line `@@ NAME`.

    Args:
        query: what the facts are about.
        names: names of the facts to gather; empty: those that the query asks for.
    """
    names = names or asked(query)
    monitor = f"devmapper-pool-monitor@{query.pool}"
    systemd = (query.daemon.unit, f"devmapper-pool@{query.pool}.service", f"{monitor}.timer", f"{monitor}.service")
    prelude = "".join(part for part, users in USES if users & set(names)).format(
        next_line=NEXT_LINE,
        at_rest=AT_REST,
        tries=WAIT * 2,
        patient=(WAIT - BRIEFLY) * 2,
        properties=" ".join(f"-p {name}" for name in units.PROPERTIES),
        units=" ".join(map(target.quote, systemd)),
        pool=target.quote(query.pool),
        udev_limit=units.UDEV,
    )
    fragments = {name: MODULES[name].fragment(query) for name in names}
    parts = {name: f"(\n{fragment}\n)\n" if fragment else "" for name, fragment in fragments.items()}
    return prelude + "".join(f"echo '@@ {name}'\n{part}" for name, part in parts.items())


def parse(output: str, names: Sequence[str] = tuple(MODULES), have: Facts | None = None) -> Facts:
    """Parse the output of the facts script.

    Args:
        output: what the script printed.
        names: names of the facts that it gathered.
        have: facts gathered before, from which the others are taken; None: nothing may read the others.

    Raises:
        Failed: a section is missing, so the script did not finish; or a section cannot be parsed.
    """
    sections: dict[str, str] = {}
    for part in ("\n" + output).split("\n@@ ")[1:]:
        name, _, text = part.partition("\n")
        sections[name] = text
    missing = [name for name in names if name not in sections]
    if missing:
        raise Failed("the facts script did not finish", f"missing: {', '.join(missing)}\n{output[-500:]}")
    values: dict[str, Any] = {} if have else {name: Unasked(name) for name in MODULES}
    for name in names:
        try:
            values[name] = MODULES[name].parse(sections[name])
        except (LookupError, ValueError) as error:
            raise Failed(
                f"cannot parse the {name} facts of this host",
                f"{error!r:.500} in:\n{sections[name][:SHOWN]}",
            ) from error
    return msgspec.structs.replace(have, disks=(), **values) if have else Facts(**values)


def gather(c: Context, query: Query) -> Facts:
    """Gather the facts of a machine with one command; nothing is changed, unless `query.prove` is set.

    Raises:
        Failed: the script failed, or its output cannot be parsed.
    """
    return parse(target.sh(c, script(query), "looking at the machine", look=not query.prove), asked(query))


def gather_beside(c: Context, query: Query, have: Facts) -> Facts:
    """Gather the facts of another containerd or pool on a machine whose facts have just been gathered.

    Args:
        c: the machine.
        query: what the facts are about.
        have: the facts gathered first; those of the machine as a whole are taken from them.

    Raises:
        Failed: see `gather`.
    """
    return parse(target.sh(c, script(query, BESIDE), "looking at the machine", look=True), BESIDE, have)
