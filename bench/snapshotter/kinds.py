"""The snapshotters to be compared, and the throwaway machine on which they are deployed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import toml

from bench._run import run
from fabfile import inventory
from fabfile.host import Host
from fabfile.lab import machines, registry
from fabfile.lab.vm import Vm

SIZE = "8G"
ZEROS = """version = 2
[plugins."io.containerd.snapshotter.v1.devmapper"]
fs_options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0"
"""
"""containerd's default: mkfs writes inode tables and journal, which a deploy leaves out on loop pools."""

PAGE_CACHE = "losetup -n -O NAME -j {dir}/data | xargs losetup --direct-io=off"
"""Let the files use the page cache, too, as losetup does by default."""

DISKS = ("24G", SIZE, SIZE)
"""The first disk holds /var/lib, so overlayfs and the files of loop pools; direct pools are on the others."""

MOVE = """set -e
disk=/dev/disk/by-id/virtio-lab-disk2
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 $disk
mount $disk /mnt; cp -a /var/lib/. /mnt; umount /mnt; mount $disk /var/lib
"""
FIO = "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install fio"


class Kind(NamedTuple):
    """A snapshotter and what is under it."""

    name: str
    snapshotter: str = "devmapper"
    instance: str = ""
    """Name of its containerd instance; the default one has overlayfs as well as a pool."""
    config: str = ""
    """Configuration of that containerd before a deploy adds our keys."""
    after: str = ""
    """Script to run after the deploy; `dir` is the directory of its pool's files."""
    pool: Mapping[str, Any] = MappingProxyType({})


def _direct(number: int, chunk: str) -> dict[str, Any]:
    return {"variant": "direct", "devices": [f"/dev/disk/by-id/virtio-lab-disk{number}"], "chunk_size": chunk}


KINDS = (
    Kind("overlayfs", "overlayfs"),
    Kind("loop 64K"),
    Kind("loop 64K, page cache", instance="cache", after=PAGE_CACHE),
    Kind("loop 64K, zeros written", instance="zeros", config=ZEROS),
    Kind("loop 512K", instance="loop-512k", pool={"block_size": "512K"}),
    Kind("direct 64K", instance="direct-64k", pool=_direct(3, "64K")),
    Kind("direct 512K", instance="direct-512k", pool=_direct(4, "512K")),
)
FLOOR = KINDS[0]
"""The kind with which the others are compared."""


class Bench(NamedTuple):
    """The machine of the comparison."""

    vm: Vm
    image: str
    """Name of the image that is pulled."""
    hosts: dict[str, Host]
    """Kind → its containerd and pool."""

    def ssh(self, script: str) -> str:
        """Run a script as root and return what it printed.

        Raises:
            SystemExit: a non-zero exit code, with all that it said.
        """
        return run(self.vm.ssh(script))


def up(lab: Path, image: str) -> Bench:
    """Start a machine with every kind, each made by `fab deploy`.

    Args:
        lab: the lab's directory.
        image: name of the image in the lab's registry.
    """
    (vm,) = machines.up(1, memory=2048, disks=DISKS)
    run(vm.ssh(MOVE))
    run(vm.ssh(FIO))
    hosts = {kind.name: _deployed(vm, lab, kind) for kind in KINDS}
    address = hosts[FLOOR.name].registry.removeprefix("http://")
    return Bench(vm, f"{address}/{image}:{registry.TAG}", hosts)


def _deployed(vm: Vm, lab: Path, kind: Kind) -> Host:
    """Deploy one kind, unless there is nothing to do."""
    settings = toml.loads((lab / "hosts.toml").read_text())
    settings["defaults"] |= {"instance": kind.instance, "pool": {"size": SIZE, **kind.pool}}
    file = lab / f"{kind.instance or 'default'}.toml"
    file.write_text(toml.dumps(settings))
    host = inventory.on_instance(inventory.load(file).hosts[vm.name])
    if kind.config:
        run(vm.ssh(f"mkdir -p /etc/containerd; cat >{host.daemon.config_path} <<'CONFIG'\n{kind.config}CONFIG"))
    print(f"deploying {kind.name}", flush=True)
    run([str(Path(sys.executable).with_name("fab")), "-H", vm.name, "deploy"], HOSTS_FILE=str(file))
    run(vm.ssh(kind.after.format(dir=host.pool.dir) or ":"))
    return host
