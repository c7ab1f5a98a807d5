"""The main job on Debian 13, whose systemd, LVM and sshd are newer than those of the other tests' machines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.conftest import started
from tests.integration.machine import Machine

SUITE = "trixie"


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with started(request, SUITE, disks=["1G"]) as machine:
        yield machine


def test_a_deploy_in_two_parts_is_complete_and_another_one_changes_nothing(machine: Machine) -> None:
    assert f"VERSION_CODENAME={SUITE}" in machine.ssh("cat /etc/os-release")
    said = machine.fab("deploy", "--until", "runc.install")
    assert "changed 1" in said and "pool" not in said
    assert "runc version" in machine.ssh("containerd --version && runc --version")
    machine.ssh("ls /etc/devmapper-pool", code=2)
    said = machine.fab("deploy")
    assert "ok       runc.install" in said and "changed  smoke" in said
    assert "ok 1  changed 0" in machine.fab("deploy")
    machine.fab("doctor")


def test_a_deployed_machine_survives_a_reboot(machine: Machine) -> None:
    machine.reboot()
    assert "ok 1  changed 0" in machine.fab("deploy")
    assert machine.fab("smoke").count("Hello from containerd!") == 2


def test_a_direct_pool_is_made_watched_and_removed(machine: Machine) -> None:
    machine.fab("pool.reset", "--yes")
    assert "changed" in machine.fab("pool.direct", "--device", machine.disk(2))
    assert "monitored" in machine.ssh("lvs --noheadings -o seg_monitor containerd/thinpool")
    assert "ok 1  changed 0" in machine.fab("pool.direct", "--device", machine.disk(2))
    machine.fab("pool.reset", "--yes")
    assert machine.ssh(f"wipefs {machine.disk(2)}") == ""
