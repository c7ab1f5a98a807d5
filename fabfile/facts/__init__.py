"""What a machine is now: a fact is a shell fragment and a pure parser; one script brings all in one round trip."""

from __future__ import annotations

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
    versions,
)
from fabfile.instance import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fabfile.context import Context
    from fabfile.host import Host


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask: the names and paths that facts depend on."""

    files: tuple[str, ...] = ()
    pool: str = "containerd-pool"
    dir: str = "/var/lib/containerd/devmapper"
    volume: str = ""
    vg: str = ""
    """The volume group of a direct pool; LVM is asked only if there is one, here or in the pool's settings."""
    devices: tuple[str, ...] = ()
    """Disks to look at before something is written to them."""
    all_disks: bool = False
    """Look at every disk and partition that there is."""
    bin_dir: str = "/usr/local/bin"
    instance: str = ""
    image: str = ""
    """The image of the proof, as containerd knows it."""
    prove: bool = False
    """Have the snapshotter make a snapshot and remove it again: the one thing in a look that is written."""

    @property
    def daemon(self) -> Daemon:
        """The containerd in question."""
        return Daemon(self.instance, self.bin_dir)


def about(host: Host, **more: Any) -> Query:
    """What to ask a machine about its containerd and its pool, of whatever variant.

    Args:
        host: the machine.
        more: fields of the query besides.
    """
    pool = host.pool
    known = {
        "pool": pool.dm_name,
        "dir": pool.dir.rstrip("/"),
        "vg": pool.vg if pool.variant == "direct" else "",
        "instance": host.instance,
        "bin_dir": host.bin_dir,
    }
    return Query(**{**known, **more})


def together(queries: Sequence[Query]) -> Query:
    """All that is asked, about one machine, containerd and pool, at once.

    Raises:
        ValueError: they are about different ones: a mistake in the program.
    """
    values: dict[str, Any] = {}
    for field in Query.__struct_fields__:
        asked = [getattr(query, field) for query in queries]
        if isinstance(asked[0], tuple):
            values[field] = tuple(dict.fromkeys(each for all_of_one in asked for each in all_of_one))
            continue
        said = set(asked) if field in ("pool", "dir", "instance", "bin_dir") else {each for each in asked if each}
        if len(said) > 1:
            raise ValueError(f"steps of one task ask about different machines: {field} is {said}")
        values[field] = said.pop() if said else asked[0]
    return Query(
        **values,
    )


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a host; what is absent is None."""

    system: system.System
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
    """Empty: containerd made a snapshot on the pool just now; else why it did not. None: that was not tried."""
    units: units.Units = units.Units()
    known: known.Known = known.Known()
    lvm: lvm.Lvm | None = None
    disks: tuple[disks.Disk, ...] = ()


class Fact(Protocol):
    """What every module of MODULES provides; mypy checks it."""

    def fragment(self, query: Query, /) -> str:
        """The shell script that prints what `parse` reads; it runs in a subshell of its own."""

    def parse(self, text: str, /) -> Any:
        """The value of the field of `Facts`, from what the fragment printed.

        Raises:
            LookupError: the output is not understood.
            ValueError: the same.
        """


MODULES: dict[str, Fact] = {
    "system": system,
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


BESIDE = tuple(name for name in MODULES if name not in ("system", "needs", "versions", "disks"))
"""Facts that depend on which containerd and pool the query is about; disks are asked for by their names."""

WAIT = 60
"""Seconds for which a look waits for units that are starting or stopping."""

SHOWN = 2000
"""Characters of an answer that is not understood, in the error."""

AT_REST = """
at_rest() {
  n=1 changing=''
  while IFS='=' read -r key value; do
    case $key=$value in
      =) n=$((n + 1)) ;;
      Job=[1-9]* | SubState=condition | SubState=start* | SubState=stop* | SubState=final* | SubState=reload*)
        [ "$n" = 4 ] || changing="${changing% "$n"} $n" ;;
    esac
  done <<SHOWN
$units
SHOWN
  [ -z "$changing" ]
}
"""
"""Whether the units in `units`, which systemctl showed, have come to rest; `changing` are the numbers of the others.

At boot, and after somebody's restart, a unit is not yet what it will be: while it has a job, even one that only waits
for others, and within its start or stop. One that failed and will be tried again (auto-restart) is at rest: it does not
run.
"""

# Programs and subshells are what a look costs: one systemctl and one dmsetup serve all fragments. `unit N PROPERTY`
# sets `value` to what systemctl printed for the N-th unit; `way N` prints where that is if it did not come to rest.
# `pools` are all thin pools, a line `NAME: TABLE` each.
# The units: containerd's, the pool's, the timer of its monitor, the monitor; the last may be at work at any time.
PRELUDE = """
units='' pools='' changing=''
{at_rest}
if [ -d /run/systemd/system ]; then
  tries={tries}
  while :; do
    units=$(systemctl show {properties} {units} 2>/dev/null) ||
      {{ echo "systemctl does not answer: $(systemctl show -p ActiveState {units} 2>&1)"; exit 0; }}
    if at_rest || [ "$tries" -le 0 ]; then break; fi
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
  n=1
  while IFS='=' read -r key value; do
    case $n$key in
      "$1$2") return 0 ;;
      "$n") n=$((n + 1)) ;;
    esac
  done <<SHOWN
$units
SHOWN
  value=''
}}
if [ -e /sys/class/misc/device-mapper ] && command -v dmsetup >/dev/null; then
  pools=$(dmsetup table --target thin-pool 2>/dev/null)
  case $pools in *:*) ;; *) pools='' ;; esac
fi
"""


def script(query: Query, asked: Iterable[str] = MODULES) -> str:
    """The facts script: each fragment in a subshell of its own, behind a line `@@ NAME`.

    Args:
        query: what to ask.
        asked: names of the facts to ask for.
    """
    monitor = f"devmapper-pool-monitor@{query.pool}"
    names = (query.daemon.unit, f"devmapper-pool@{query.pool}.service", f"{monitor}.timer", f"{monitor}.service")
    prelude = PRELUDE.format(
        at_rest=AT_REST,
        tries=WAIT * 2,
        properties=" ".join(f"-p {name}" for name in units.PROPERTIES),
        units=" ".join(map(target.quote, names)),
    )
    return prelude + "".join(f"echo '@@ {name}'\n(\n{MODULES[name].fragment(query)}\n)\n" for name in asked)


def parse(output: str, have: Facts | None = None) -> Facts:
    """The facts in what the script printed.

    Args:
        output: it.
        have: those of an earlier look, if the script asked for BESIDE only.

    Raises:
        Failed: a section is missing, so the script did not run to its end; or one is not understood.
    """
    asked = BESIDE if have else tuple(MODULES)
    sections: dict[str, str] = {}
    for part in ("\n" + output).split("\n@@ ")[1:]:
        name, _, text = part.partition("\n")
        sections[name] = text
    missing = [name for name in asked if name not in sections]
    if missing:
        raise Failed("the facts script did not finish", f"missing: {', '.join(missing)}\n{output[-500:]}")
    values = {}
    for name in asked:
        try:
            values[name] = MODULES[name].parse(sections[name])
        except (LookupError, ValueError) as error:
            raise Failed(
                f"cannot parse the {name} facts of this host",
                f"{error!r:.500} in:\n{sections[name][:SHOWN]}",
            ) from error
    return msgspec.structs.replace(have, disks=(), **values) if have else Facts(**values)


def gather(c: Context, query: Query) -> Facts:
    """Look at the machine: one command, nothing is changed, also with --dry.

    Raises:
        Failed: the script failed or its answer was not understood.
    """
    return parse(target.sh(c, script(query), "looking at the machine", look=not query.prove))


def gather_beside(c: Context, query: Query, have: Facts) -> Facts:
    """Look at another containerd or pool of a machine that was looked at just now.

    Args:
        c: the machine.
        query: what to ask.
        have: what the first look found; what it says of the machine as a whole is not asked again.

    Raises:
        Failed: see `gather`.
    """
    return parse(target.sh(c, script(query, BESIDE), "looking at the machine", look=True), have)
