"""Two containerds on one machine, each on a pool of its own. The tests build on each other.

That both come back after a reboot and a power cut, each with its containers, is in test_soak.
"""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

from tests.integration.machine import Machine

TWO = "ctr --address /run/containerd-ci-two/containerd.sock"
WRITE = "i=0; while :; do i=$((i + 1)); echo $i >/n; sleep 1; done"
NAMES = (
    "find / -xdev -path /proc -prune -o -name '*ci-two*' -print; dmsetup ls | grep ci-two; "
    "systemctl list-units --plain | grep ci-two"
)
"""Everything that the instance `ci-two` could leave behind."""


def registry(machine: Machine) -> str:
    """The lab's registry, the first part of an image's name."""
    text = (machine.vm.directory.parent / "hosts.toml").read_text()
    return str(tomllib.loads(text)["defaults"]["registry"]).removeprefix("http://")


def start(machine: Machine, ctr: str, name: str) -> None:
    """Run a container on devmapper that counts into a file."""
    image = f"{registry(machine)}/library/busybox:latest"
    machine.ssh(f"{ctr} images pull --plain-http --snapshotter devmapper {image}")
    machine.ssh(f"{ctr} run -d --snapshotter devmapper {image} {name} sh -c {shlex.quote(WRITE)}")


def counted(machine: Machine, ctr: str, name: str) -> int:
    """The number that the container has counted to."""
    return int(machine.ssh(f"{ctr} tasks exec --exec-id look {name} cat /n"))


def test_a_second_containerd_beside_the_first(deployed: Machine) -> None:
    assert deployed.ssh(NAMES, code=None) == ""
    first = deployed.ssh("systemctl show -p MainPID containerd; md5sum /etc/containerd/config.toml")
    assert "changed 1" in deployed.fab("deploy", "--instance", "ci-two", "--size", "2G")
    for options in (["--instance", "ci-two", "--size", "2G"], []):
        assert "ok 1  changed 0" in deployed.fab("deploy", *options)
    assert deployed.ssh("systemctl show -p MainPID containerd; md5sum /etc/containerd/config.toml") == first
    for ctr, pool in (("ctr", "containerd-pool"), (TWO, "ci-two-pool")):
        start(deployed, ctr, f"count-{pool}")
        assert f"{pool}-snap-" in deployed.ssh("cat /proc/mounts")
    assert counted(deployed, "ctr", "count-containerd-pool")
    assert counted(deployed, TWO, "count-ci-two-pool")


def test_what_would_mix_or_move_them_is_refused(deployed: Machine, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.toml"
    lab = (deployed.vm.directory.parent / "hosts.toml").read_text()
    one, two = "/var/lib/containerd/devmapper", "/var/lib/containerd-ci-two/devmapper"
    refused: list[tuple[str, str, str]] = [
        (
            "",
            "pool.loop --instance three --name ci-two-pool",
            "the pool ci-two-pool was made for the containerd instance ci-two",
        ),
        ("", f"pool.loop --instance three --dir {one}", f"{one} holds the pool containerd-pool of the default"),
        ("", f"pool.loop --dir {two}", f"{two} holds the pool ci-two-pool of the containerd instance ci-two"),
        ("", "pool.reset --yes --name ci-two-pool", "leave theirs without a pool"),
        ("", "deploy --instance devmapper", "the name 'devmapper' is taken"),
        ("", "pool.loop --name other", "it has containerd-pool, requested: other"),
        ("", "pool.loop --block-size 128K", "block_size: it has 64K, requested: 128K"),
        ("", "pool.loop --instance ci-two --size 2G --dir /srv/two", f"it has {two}, requested: /srv/two"),
        ("base_image_size = '5GB'", "deploy", "smaller than its file system"),
        ("base_image_size = '20GB'", "deploy", "keep the old size"),
        ("name = 'other'", "deploy", "pool.reset --name containerd-pool --yes"),
        ("dir = '/srv/other'", "deploy", f"directory: it has {one}, requested: /srv/other"),
    ]
    before = deployed.state()
    for settings, line, what in refused:
        inventory.write_text(f"{lab}\n[defaults.pool]\n{settings}\n")
        output = deployed.fab(*shlex.split(line), code=2, inventory=inventory)
        assert what in output, f"{line}\n{output}"
    assert deployed.state() == before


def test_reset_of_one_leaves_the_other_alone(deployed: Machine) -> None:
    running = "; ".join(
        [
            "pgrep -fo '^sh -c i=0'",
            "systemctl show -p MainPID containerd",
            "dmsetup table | grep -v ci--two | grep -v ci-two",
            "losetup -n --raw -O NAME,BACK-FILE | grep -v ci-two",
        ]
    )
    assert "container count-ci-two-pool runs, in the namespace default" in deployed.fab(
        "pool.reset", "--instance", "ci-two", "--yes", code=2
    )
    before = deployed.ssh(running)
    deployed.fab("pool.reset", "--instance", "ci-two", "--yes", "--force")
    assert deployed.ssh(running) == before
    now = counted(deployed, "ctr", "count-containerd-pool")
    deployed.ssh("sleep 3")
    assert counted(deployed, "ctr", "count-containerd-pool") > now
    assert deployed.ssh(NAMES, code=None) == ""
    assert "ok 1  changed 0" in deployed.fab("deploy")
