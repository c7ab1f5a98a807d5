"""A machine on which pools were made and removed is as it was before. The tests build on each other."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import started
from tests.integration.machine import Machine

DISK, OTHER = "/dev/disk/by-id/virtio-lab-disk", "/dev/disk/by-id/virtio-lab-disk2"
"""One disk for a direct pool; one with a foreign volume group."""

BLOCKS = f"""
losetup -n -l; dmsetup ls; dmsetup table; cat /proc/mounts; cat /etc/fstab
lvs -a --noheadings -o vg_name,lv_name; pvs --noheadings -o pv_name,vg_name
wipefs {DISK} {OTHER}; head -c 4M {DISK} | tr -d '\\0' | wc -c; tail -c 4M {DISK} | tr -d '\\0' | wc -c
find /etc/devmapper-pool /etc/lvm/profile /var/lib/containerd/devmapper 2>/dev/null | sort
"""
"""Everything that a pool could leave behind."""

FILES = """
find /etc /opt /usr/local /srv /var/lib /var/tmp -xdev -printf '%p %y %m %l\\n' | sort
systemctl list-unit-files --no-legend; systemctl list-units --all --plain --no-legend '*containerd*' '*devmapper*'
"""
"""And a deploy; what LVM and dpkg note of others' work is left out in `files`."""


def files(machine: Machine) -> list[str]:
    noted = ("/etc/lvm/archive", "/etc/lvm/backup", "/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd")
    return [line for line in machine.ssh(FILES).splitlines() if not line.startswith(noted)]


def blocks(machine: Machine) -> str:
    return machine.ssh(BLOCKS, code=None)


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, lab: Path, suite: str) -> Iterator[Machine]:
    """A machine on which nothing was done yet, with a volume group that is not ours."""
    with started(request, suite, disks=["3G"]) as machine:
        machine.ssh(f"vgcreate -q datavg {OTHER}")
        yield machine


@pytest.fixture(scope="module")
def fresh(machine: Machine) -> tuple[str, list[str]]:
    """The machine's block devices and files before the first deploy."""
    return blocks(machine), files(machine)


@pytest.fixture(scope="module")
def on_volume(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory that asks for a loop pool on a volume that it makes."""
    inventory = tmp_path_factory.mktemp("reset") / "hosts.toml"
    pool = {"volume": "datavg/pool", "volume_size": "2G", "size": "1G", "base_image_size": "300MB"}
    lines = [f"{key} = '{value}'" for key, value in pool.items()]
    text = (machine.vm.directory.parent / "hosts.toml").read_text()
    inventory.write_text("\n".join([text, "[defaults.pool]", *lines]))
    return inventory


def breaking(program: str, then: str) -> str:
    """Install a wrapper, found first in PATH, that runs the program and then `then`."""
    text = f'#!/bin/sh\n/sbin/{program} "$@" || exit\n{then}\n'
    return f"printf %s {shlex.quote(text)} >/usr/local/sbin/{program}; chmod +x /usr/local/sbin/{program}"


def test_half_a_pool_is_removed(machine: Machine, fresh: tuple[str, list[str]], on_volume: Path) -> None:
    machine.ssh(breaking("lvcreate", "exit 1"))
    machine.fab("pool.loop", code=1, inventory=on_volume)
    machine.ssh("rm /usr/local/sbin/lvcreate")
    assert "pool" in machine.ssh("lvs --noheadings -o lv_name datavg")
    machine.fab("pool.reset", "--yes", inventory=on_volume)
    assert blocks(machine) == fresh[0]


def test_a_direct_pool_is_removed_with_the_group_and_disk_created_for_it(
    machine: Machine, fresh: tuple[str, list[str]]
) -> None:
    machine.fab("deploy", "--variant", "direct", "--device", DISK)
    assert "containerd-thinpool" in machine.ssh("dmsetup ls")
    before = machine.state()
    plan = machine.fab("--dry", "pool.reset", "--diff", code=3)
    for what in (
        "remove containerd/thinpool, 16.0G",
        "remove_vg containerd",
        f"wipe {machine.disk(1)} (lab-disk)",
    ):
        assert what in plan
    reset = f"fab -H {machine.vm.name} pool.reset --name containerd-thinpool --yes"
    assert f"if that is what you want: {reset}" in machine.fab("pool.reset", code=2)
    assert machine.state() == before
    # Killed when the group is gone and the disk is not yet wiped: the next run knows the disk by its serial number.
    machine.ssh(breaking("vgremove", "kill -KILL $PPID"))
    machine.fab("pool.reset", "--yes", code=1)
    machine.ssh("rm /usr/local/sbin/vgremove")
    assert "LVM2_member" in machine.ssh(f"wipefs {DISK}")
    assert "changed 1" in machine.fab("pool.reset", "--yes")
    assert blocks(machine) == fresh[0]
    assert "no pool containerd-pool: nothing to do" in machine.fab("pool.reset", "--yes")


def test_a_pool_in_use_stays(machine: Machine, on_volume: Path) -> None:
    machine.fab("deploy", inventory=on_volume)
    registry = str(tomllib.loads(on_volume.read_text())["defaults"]["registry"]).removeprefix("http://")
    image = f"{registry}/library/busybox:latest"
    machine.ssh(f"ctr images pull --plain-http --snapshotter devmapper {image}")
    machine.ssh(f"ctr run -d --snapshotter devmapper {image} one sleep 10000")
    machine.ssh("touch /var/lib/containerd/devmapper/precious")
    said = machine.fab("pool.reset", "--yes", code=2, inventory=on_volume)
    assert "container one runs, in the namespace default" in said
    said = machine.fab("pool.reset", "--all", "--yes", "--force", code=2, inventory=on_volume)
    assert "would go with its volume: /var/lib/containerd/devmapper/precious" in said
    machine.ssh("cd /var/lib/containerd/devmapper; mv precious data.bak")
    said = machine.fab("pool.reset", "--yes", "--force", code=2, inventory=on_volume)
    assert "would go with its volume: /var/lib/containerd/devmapper/data.bak" in said
    machine.ssh("cd /var/lib/containerd/devmapper; mv data.bak precious")
    # A daemon that is down says nothing of its containers, which run on.
    machine.ssh("rm /var/lib/containerd/devmapper/precious; systemctl stop containerd")
    assert "container one runs, in the namespace default" in machine.fab(
        "pool.reset", "--yes", code=2, inventory=on_volume
    )


def test_everything_is_removed(machine: Machine, fresh: tuple[str, list[str]], on_volume: Path) -> None:
    aside = "/var/lib/containerd-devmapper/before"
    machine.ssh(f"mkdir -p {aside} /var/tmp/containerd-devmapper.0123456789; touch {aside}/containerd")
    machine.ssh("printf '#!/bin/sh\nkill -KILL $PPID\n' >/usr/local/sbin/lvremove; chmod +x /usr/local/sbin/lvremove")
    machine.fab("pool.reset", "--all", "--yes", "--force", code=1, inventory=on_volume)
    machine.ssh("rm /usr/local/sbin/lvremove")
    said = machine.fab("pool.reset", "--all", "--yes", "--force", inventory=on_volume)
    assert "distribution packages remain" in said
    machine.ssh(f"rm {aside}/containerd; rmdir {aside} {aside.rpartition('/')[0]}")
    assert files(machine) == fresh[1]
    assert blocks(machine) == fresh[0]
    assert machine.ssh("pgrep containerd; systemctl --failed --no-legend", code=None) == ""
    assert "this tool has installed nothing on the host: nothing to do" in machine.fab(
        "pool.reset", "--all", "--yes", code=0
    )
