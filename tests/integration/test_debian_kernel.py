"""The main job on Debian's own kernel, for what User-mode Linux cannot prove.

A deploy, a container after a reboot and after a power cut, and a direct pool that dmeventd lets grow. The tests build
on each other.
"""

from __future__ import annotations

from pathlib import Path

from tests.integration import writer
from tests.integration.case import SMALL_DIRECT, Case
from tests.integration.machine import Machine, until

KERNEL = "debian"


def test_the_kernel_is_debians_own(bare: Machine) -> None:
    assert "-cloud-amd64" in bare.ssh("uname -r")
    assert bare.ssh("systemd-detect-virt").strip() in ("kvm", "qemu")


def test_a_deploy_ends_with_containers_on_both_snapshotters(bare: Machine) -> None:
    assert "changed 1" in bare.fab("deploy")
    assert bare.fab("smoke").count("Hello from containerd!") == 2


def test_a_second_deploy_changes_nothing_after_a_reboot_and_a_power_cut(bare: Machine) -> None:
    image = bare.ssh("ctr images ls -q").split()[0]
    bare.ssh(f"ctr containers create --snapshotter devmapper {image} kept")
    bare.in_snapshot("kept", "echo still here >file")
    for end in (bare.reboot, bare.power_cut):
        end()
        assert "ok 1  changed 0" in bare.fab("deploy")
        assert bare.in_snapshot("kept", "cat file") == "still here\n"
    assert "Hello" in bare.said_by("kept")


def test_dmeventd_lets_a_direct_pool_grow_before_it_is_full(bare: Machine, tmp_path: Path) -> None:
    bare.ssh("ctr containers rm kept")
    bare.fab("pool.reset", "--yes")
    direct = Case(bare, tmp_path / "hosts.toml", SMALL_DIRECT)
    assert "at 60% used it grows by 50%" in direct.fab("deploy")
    size = "lvs --noheadings --nosuffix --units m -o lv_size containerd/thinpool"
    before = float(bare.ssh(size))
    fills = writer.start(bare, "fills")
    until(lambda: float(bare.ssh(size)) > before, "did not grow", 240)
    fills.reaches(fills.written + 5)
    assert fills.lost() == "" and fills.failed == 0
    assert "ok 1  changed 0" in direct.fab("deploy")
    fills.remove()
