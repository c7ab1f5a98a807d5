"""A container that fills its root file system with files, each synced before it counts as written."""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import dataclass

from tests.integration.machine import Machine, until

MIB_EACH = 1

DIRECTORY = "/run/writer"
"""A directory in memory on the machine, as the container's own reports must not depend on the pool."""

WRITE = """
i=$(busybox wc -l </host/written)
while [ ! -e /host/stop ]; do
  i=$((i + 1))
  until { echo $i; cat /host/seed; } | dd of=/f$i bs=1M conv=fsync 2>>/host/errors; do
    echo $i >>/host/failed
    [ ! -e /host/stop ] || exit 1
    sleep 1
  done
  echo $i >>/host/written
  sleep $(cat /host/pace)
done
"""
"""dd's fsync and exit code tell that a file was written. After a restart it continues with the next one."""

CHECK = """
sync; echo 3 >/proc/sys/vm/drop_caches
while read -r i; do { echo $i; cat seed; } | cmp - $root/f$i || echo "lost $i"; done <written
echo checked
"""


@dataclass(frozen=True)
class Writer:
    """The container."""

    machine: Machine
    name: str

    @property
    def written(self) -> int:
        """Return the number of files that were written and synced."""
        return int(self.machine.ssh(f"wc -l <{DIRECTORY}/written"))

    @property
    def failed(self) -> int:
        """Return the number of attempts to write that failed."""
        return int(self.machine.ssh(f"wc -l <{DIRECTORY}/failed"))

    @property
    def errors(self) -> str:
        """Return the last errors, without what dd says of writes that succeeded."""
        return self.machine.ssh(f"grep -v ' records \\| copied' {DIRECTORY}/errors | tail -n 5")

    def reaches(self, files: int, seconds: float = 120) -> None:
        """Wait until it has written this many files."""
        until(lambda: self.written >= files, f"did not write {files} files", seconds)

    def lost(self) -> str:
        """Stop it and read everything that it wrote back from disk; return what differs."""
        root = f"root=/proc/$(ctr tasks ls | awk '$1 == \"{self.name}\" {{ print $2 }}')/root"
        said = self.machine.ssh(f"cd {DIRECTORY}; touch stop; {root}\n{CHECK}")
        assert said.endswith("checked\n"), said
        return said.removesuffix("checked\n")

    def hurry(self) -> None:
        """Let it write as fast as it can."""
        self.machine.ssh(f"echo 0 >{DIRECTORY}/pace")

    def slow(self) -> None:
        """Let it write slowly, so that an enlarged pool is not full again at once."""
        self.machine.ssh(f"echo 3 >{DIRECTORY}/pace")

    def restart(self) -> None:
        """Start it again, with its file system mounted again."""
        self.machine.ssh(f"touch {DIRECTORY}/stop; ctr tasks kill -s KILL {self.name}", code=None)
        self._ended()
        self.machine.ssh(
            f"rm {DIRECTORY}/stop; ctr tasks rm {self.name} 2>&1; ctr tasks start -d {self.name} </dev/null"
        )

    def _ended(self) -> None:
        until(lambda: f"{self.name} " not in self.machine.ssh("ctr tasks ls | grep RUNNING || true"), "did not end", 60)

    def remove(self) -> None:
        """Stop and remove it, with its snapshot."""
        self.machine.ssh(f"touch {DIRECTORY}/stop; ctr tasks kill -s KILL {self.name}", code=None)
        self._ended()
        self.machine.ssh(f"ctr tasks rm -f {self.name} || true; ctr containers rm {self.name}")


def registry(machine: Machine) -> str:
    """Return the lab's registry, as at the start of an image's name."""
    text = (machine.vm.directory.parent / "hosts.toml").read_text()
    return str(tomllib.loads(text)["defaults"]["registry"]).removeprefix("http://")


def start(machine: Machine, name: str, pace: int = 0) -> Writer:
    """Run one on the devmapper snapshotter, with `pace` seconds between its files."""
    image = f"{registry(machine)}/library/busybox:latest"
    machine.ssh(
        f"rm -rf {DIRECTORY}; mkdir {DIRECTORY}; cd {DIRECTORY}; touch written failed errors; echo {pace} >pace\n"
        f"dd if=/dev/urandom of=seed bs=1M count={MIB_EACH} status=none\n"
        f"ctr images pull --plain-http --snapshotter devmapper {image} >/dev/null\n"
        f"ctr run -d --snapshotter devmapper --mount type=bind,src={DIRECTORY},dst=/host,options=rbind:rw"
        # The writer runs in the background of a shell that lives on, so that a failed file system can still be
        # inspected.
        f" {image} {name} sh -c {shlex.quote(f'({WRITE}) & while :; do sleep 60; done')}"
    )
    return Writer(machine, name)
