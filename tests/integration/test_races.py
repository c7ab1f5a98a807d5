"""Races with changes that take effect a moment later, and power cuts. The tests build on each other."""

from __future__ import annotations

import re

import pytest

from fabfile.instance import Daemon
from fabfile.pool import units
from tests.integration.machine import Machine

NAME = "containerd-pool"
TIMER = units.monitor(NAME)
DAEMON = Daemon()
NOTHING = "ok 1  changed 0"
PROOF = r"changed +smoke "


def drop_in(unit: str, text: str) -> str:
    """Shell that adds lines to a unit until the next boot."""
    where = f"/run/systemd/system/{unit}.d"
    return f"mkdir -p {where}; printf '{text}' >{where}/slow.conf; systemctl daemon-reload"


def without(unit: str) -> str:
    """Shell that removes those lines."""
    return f"rm -r /run/systemd/system/{unit}.d; systemctl daemon-reload"


def main_pid(machine: Machine) -> str:
    """The main process id of containerd, as systemd prints it."""
    return machine.ssh(f"systemctl show -p MainPID {DAEMON.unit}")


def test_the_output_of_a_container_that_ends_at_once_is_read(deployed: Machine) -> None:
    # On one processor ctr hears of the end of a container before it has read what that said: 6 times in 300.
    for _ in range(4):
        said = deployed.fab("smoke")
        assert said.count("Hello from containerd!") == said.count("root file system is") == 2, said
    assert deployed.ssh("ls /run | grep smoke", code=1) == ""


def test_a_unit_that_is_still_starting_is_waited_for(deployed: Machine) -> None:
    deployed.ssh(drop_in(DAEMON.unit, r"[Service]\nExecStartPre=/bin/sleep 8\n"))
    deployed.ssh(f"systemctl restart --no-block {DAEMON.unit}")
    assert "MainPID=0" in main_pid(deployed)
    assert re.search(r"ok +containerd +runs", deployed.fab("doctor"))
    deployed.ssh(f"systemctl restart --no-block {DAEMON.unit}")
    assert NOTHING in deployed.fab("deploy")
    deployed.ssh(without(DAEMON.unit))


def test_the_monitor_runs_as_soon_as_the_pool_does(deployed: Machine) -> None:
    # It starts after the pool, 5 to 40 ms later on an idle machine: here, 3 s.
    deployed.ssh(r"printf '[Service]\nType=oneshot\nExecStart=/bin/sleep 3\n' >/run/systemd/system/slow.service")
    deployed.ssh(drop_in(TIMER, r"[Unit]\nWants=slow.service\nAfter=slow.service\n"))
    deployed.ssh(f"systemctl stop {DAEMON.unit} {TIMER} {units.unit(NAME)}")
    assert "activate the pool" in deployed.fab("pool.loop")
    deployed.ssh(f"{without(TIMER)}; systemctl start {DAEMON.unit}")
    assert NOTHING in deployed.fab("deploy")


def test_facts_wait_for_a_growing_pool(deployed: Machine) -> None:
    # The files are longer already; what comes before the kernel is told of it takes its time here.
    slow = "/usr/local/sbin/sync"
    deployed.ssh(rf"printf '#!/bin/sh\nsleep 10\nexec /usr/bin/sync \"$@\"\n' >{slow}; chmod +x {slow}")
    more = "$(($(stat -c %s /var/lib/containerd/devmapper/data) + (64 << 20)))"
    deployed.ssh(f"{units.SCRIPT} grow {NAME} {more} 0 >/run/grown 2>&1 </dev/null &")
    assert NOTHING in deployed.fab("deploy")
    assert "MiB of data" in deployed.ssh(f"rm {slow}; cat /run/grown"), "the look waited for it"


def test_a_proof_is_remembered_after_a_power_cut(deployed: Machine) -> None:
    deployed.ssh(f"rm {DAEMON.smoke_record_path}; sync")
    assert re.search(PROOF, deployed.fab("deploy"))
    deployed.power_cut()
    assert NOTHING in deployed.fab("deploy")


@pytest.mark.parametrize(
    "gone",
    [
        "ctr images rm $(ctr images ls -q)",
        # The snapshots of the image stay behind: the pull that comes then brings it anew.
        f"systemctl stop {DAEMON.unit}; rm {DAEMON.root}/io.containerd.metadata.v1.bolt/meta.db;"
        f" systemctl start {DAEMON.unit}",
    ],
)
def test_a_proof_holds_only_as_long_as_what_it_was_made_from(deployed: Machine, gone: str) -> None:
    deployed.ssh(gone)
    assert re.search(PROOF, deployed.fab("deploy"))
    assert NOTHING in deployed.fab("deploy")


def test_a_configuration_that_was_changed_by_hand_is_loaded_and_proved(deployed: Machine) -> None:
    deployed.ssh(rf"sed -i 's/^base_image_size/fs_type = \"xfs\"\n&/' {DAEMON.config_path}")
    said = deployed.fab("deploy")
    assert "start containerd: its settings changed" in said
    assert re.search(PROOF, said)
    before = main_pid(deployed)
    deployed.ssh(f"sed -i 's/^fs_type.*/fs_type = 5/' {DAEMON.config_path}")
    assert f"containerd does not load {DAEMON.config_path}" in deployed.fab("deploy", code=2)
    assert main_pid(deployed) == before, "a daemon that runs does not go down for a file that it cannot load"
    deployed.ssh(f"sed -i /^fs_type/d {DAEMON.config_path}")
    assert re.search(PROOF, deployed.fab("deploy"))
    assert NOTHING in deployed.fab("deploy")
