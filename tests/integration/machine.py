"""A machine under test, driven by fab as an operator would, and inspected by plain ssh."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgspec

from fabfile.instance import Daemon
from fabfile.lab import machines, vm
from fabfile.lab.vm import Vm
from fabfile.output.outcome import FleetReport
from fabfile.paths import REPOSITORY
from fabfile.pool import units, variants
from tests.integration import forked, times
from tests.reference import all_tasks

LIMIT = 300
"""Seconds for a machine to shut down or boot, on two busy cores."""

BOOTED = "systemctl is-system-running --wait"
"""SSH works before all units have started. Its exit code reports failed ones, which the tests check themselves."""

STATE = """
find /etc /opt /usr/local -xdev -printf '%p %s %T@\\n' | sort
[ ! -d /var/lib/containerd ] || find /var/lib/containerd/devmapper -printf '%p %s\\n' | sort
losetup -n -O NAME,BACK-FILE | sort; dmsetup ls; dmsetup table; cat /proc/mounts
"""
"""Everything that a deploy could change; of what a running containerd writes, only names and sizes."""


EARLIER = "# as an earlier version wrote it"
"""Last line of what `write_as_earlier` changes: a comment in each of the formats."""

LOGS = REPOSITORY / "logs"
"""Directory of the logs of failed tests' machines."""


@dataclass(frozen=True)
class Machine:
    """A machine under test, driven by fab as an operator would, and inspected by plain ssh."""

    vm: Vm

    def disk(self, number: int) -> str:
        """Return its own name of a disk: 0 is the root disk, 1 the empty one of 20G, others are those of a test."""
        return machines.disk(self.vm, number)

    def fab(self, *args: str, code: int | None = 0, inventory: Path | None = None) -> str:
        """Run fab on it and return the output; the exit code must be `code`, None: any."""
        return run_fab("-H", self.vm.name, *args, code=code, inventory=inventory)

    def fab_json(self, *args: str, code: int = 0, inventory: Path | None = None) -> dict[str, Any]:
        """Run fab with --json and return its last task's report; standard output must be only that document."""
        done = _fab("-H", self.vm.name, *args, "--json", code=code, inventory=inventory)
        report = msgspec.json.decode(done.stdout, type=FleetReport)
        assert (report.schema, report.exit_code, list(report.hosts)) == (1, code, [self.vm.name])
        task = report.hosts[self.vm.name].tasks[-1]
        if task.result is not None:
            msgspec.json.decode(msgspec.json.encode(task.result), type=all_tasks()[task.task].answers)
        last: dict[str, Any] = msgspec.to_builtins(task)
        return last

    def ssh(self, command: str, code: int | None = 0, *, alone: bool = False) -> str:
        """Run a command over OpenSSH and return its output.

        All commands share one connection, as opening one takes a User-mode Linux machine four times as long as `true`.

        Args:
            command: the command.
            code: required exit code; None: any.
            alone: use a separate connection, as the machine may go down without closing it.
        """
        words = self.vm.ssh(command)
        if not alone:
            place = words.index("-F")
            words[place:place] = [f"-oControlPath={self.control}", "-oControlMaster=auto", "-oControlPersist=60"]
        begin = monotonic()
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        times.note("command", f"ssh ({self.vm.kind})", monotonic() - begin)
        said = f"{command}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
        assert code is None or done.returncode == code, said
        return done.stdout + done.stderr

    @property
    def control(self) -> str:
        """Path of the socket of its shared connection, from the directory in which ssh runs."""
        return f"{self.vm.name}/control"

    def disconnect(self) -> None:
        """Close the shared connection, if there is one: it would not notice that the machine goes down."""
        words = self.vm.ssh()
        place = words.index("-F")
        words[place:place] = [f"-oControlPath={self.control}", "-O", "exit"]
        subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, check=False)

    def state(self) -> str:
        """Return everything that a deploy could change."""
        return self.ssh(STATE)

    def in_snapshot(self, name: str, script: str, ctr: str = "ctr") -> str:
        """Run a script in the file system of a stopped container, and return its output."""
        snapshots = f"{ctr} snapshots --snapshotter devmapper"
        # ctr also prints an empty list of options.
        mount = f'set -e; d=$(mktemp -d); m=$({snapshots} mounts $d {name}); eval "${{m%-o }}"; cd $d'
        return self.ssh(f"{mount}\n{script}\nsync; cd /; umount $d; rmdir $d")

    def write_as_earlier(self, pool: str) -> None:
        """Change every file that the deploy of a pool has written, as if an earlier version had written it."""
        daemon = Daemon("")
        written = {*units.paths(pool), *variants.files(pool), daemon.unit_path, daemon.drop_in_path, daemon.mke2fs_path}
        there = self.ssh(f"ls {' '.join(sorted(written))} 2>/dev/null", code=None).split()
        assert len(there) >= 7, there
        self.ssh(f"sed -i '$a {EARLIER}' {' '.join(there)}; systemctl daemon-reload")

    def trims_offline(self, name: str) -> None:
        """Let `pool.trim --offline` discard what a removed container left, and nothing else of the pool `name`.

        Of the blocks in use, the last one is written last, so a wrong end of the free range would hit it first.
        """
        image = self.ssh("ctr images ls -q").split()[0]
        for container in ("removed", "stays"):
            self.ssh(f"ctr containers create --snapshotter devmapper {image} {container}")
            self.in_snapshot(container, f"yes written-to-{container} | head -c 24M >file")
        # The device disappears with the next garbage collection, which nothing else waits for.
        self.ssh("ctr containers rm removed; ctr leases create --id now; ctr leases delete --sync now")
        said = self.fab("pool.trim", "--offline", "--name", name)
        assert "used of the pool" in said
        self.ssh("echo 3 >/proc/sys/vm/drop_caches")
        assert self.in_snapshot("stays", "yes written-to-stays | head -c 24M | cmp - file && echo same") == "same\n"
        assert "Hello from containerd!" in self.said_by("stays")
        self.ssh("ctr containers rm stays")

    def said_by(self, name: str) -> str:
        """Start an existing container and return its output; its task is gone afterwards.

        The shim writes the output to a file, as ctr loses what it has not read when the container ends.
        """
        start = f"ctr tasks start --log-uri file://$d/said {name} </dev/null"
        return self.ssh(f"d=$(mktemp -d -p /run) && {start} && cat $d/said && rm -r $d")

    def power_cut(self) -> None:
        """Stop it without warning and start it again."""
        self.disconnect()
        machines.kill(self.vm)
        machines.restart(self.vm)
        self.ssh(BOOTED, code=None)

    def reboot(self) -> None:
        """Reboot it cleanly and wait."""
        boot = "cat /proc/sys/kernel/random/boot_id"
        before = self.ssh(boot)
        self.disconnect()
        self.ssh("systemctl reboot", code=None, alone=True)
        after = partial(self.ssh, boot, code=None, alone=True)
        until(lambda: after() not in ("", before) and vm.answers(self.vm), "did not come back")
        self.ssh(BOOTED, code=None)

    def power_off(self) -> None:
        """Shut it down cleanly and wait; its disk stays."""
        self.disconnect()
        self.ssh("systemctl poweroff", code=None, alone=True)
        until(lambda: self.vm.pid is None, "did not go down")


@contextmanager
def lvm_says(machine: Machine, text: str) -> Iterator[None]:
    """Add text to the machine's LVM configuration within this context."""
    local = "/etc/lvm/lvmlocal.conf"
    machine.ssh(f"cp {local} {local}.was; printf '%s\\n' {shlex.quote(text)} >>{local}")
    try:
        yield
    finally:
        machine.ssh(f"mv {local}.was {local}")


def running(directory: Path) -> list[str]:
    """Return the command lines of all processes in a directory, even if it has been removed, or below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended
            place = Path(str((process / "cwd").readlink()).removesuffix(" (deleted)"))
            if place.is_relative_to(directory.resolve()):
                found.append((process / "cmdline").read_text(errors="replace").replace("\0", " ").strip())
    return found


def parts(vm: Vm) -> dict[str, int]:
    """Map the parts of a User-mode Linux machine to their process ids."""
    assert vm.pid is not None
    names = {"qemu-system-x86": "network", "linux": "machine"}
    children = Path(f"/proc/{vm.pid}/task/{vm.pid}/children").read_text().split()
    return {
        "supervisor": vm.pid,
        **{names[Path(f"/proc/{each}/comm").read_text().strip()]: int(each) for each in children},
    }


def until(true: Any, otherwise: str, seconds: float = LIMIT) -> None:
    """Wait until `true()` holds, at most for `seconds`."""
    begin = monotonic()
    while not true():
        assert monotonic() - begin < seconds, f"it {otherwise}"
        sleep(0.1)
    times.note("wait", f"until it no longer {otherwise}", monotonic() - begin)


def run_fab(*args: str, code: int | None = 0, inventory: Path | None = None) -> str:
    """Run fab as an operator would, and return its output."""
    done = _fab(*args, code=code, inventory=inventory)
    return done.stdout + done.stderr


def _fab(*args: str, code: int | None, inventory: Path | None) -> subprocess.CompletedProcess[str]:
    lab = Path(os.environ["LAB_DIR"])
    environment = {**os.environ, "HOSTS_FILE": str(inventory or lab / "hosts.toml")}
    begin = monotonic()
    done = forked.run(args, REPOSITORY, environment)
    task = next((word for word in args[2:] if not word.startswith("-")), "")
    times.note("command", f"fab {task}{' --dry' if '--dry' in args else ''}", monotonic() - begin)
    said = f"fab {' '.join(args)}: exit code {done.returncode}, expected {code}\n{done.stdout}{done.stderr}"
    assert code in (None, done.returncode), said
    return done


def keep_logs(machine: Machine, name: str) -> None:
    """Copy its console log and journal to logs/."""
    LOGS.mkdir(exist_ok=True)
    shutil.copyfile(machine.vm.console, LOGS / f"{name}-console.log")
    if machine.vm.pid is not None:
        (LOGS / f"{name}-journal.log").write_text(machine.ssh("journalctl -b --no-pager", code=None))
