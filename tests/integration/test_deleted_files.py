"""The files of an active pool are deleted: its devices still have the content, and a rescue writes it to disk again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import started
from tests.integration.machine import Machine, until
from tests.integration.test_not_ours_files import DIR, FILES, POOL, UNIT, content, thin


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, lab: Path, suite: str) -> Iterator[Machine]:
    """A machine with a loop pool on a file system of the user's own, and no containerd."""
    with started(request, suite, disks=["1G"]) as machine:
        machine.ssh(f"mkfs.ext4 -q {machine.disk(2)}; mkdir -p {DIR}; mount {machine.disk(2)} {DIR}")
        machine.fab(*FILES)
        machine.ssh(thin(2, "other content"))
        yield machine


def wrapper(machine: Machine, program: str, before: str) -> None:
    """Install a wrapper, found first in PATH, that runs shell before the program."""
    text = f'#!/bin/sh\n{before}\nexec /bin/{program} "$@"\n'
    machine.ssh(f"printf %s {shlex.quote(text)} >/usr/local/sbin/{program}; chmod +x /usr/local/sbin/{program}")


def test_n28_a_file_deleted_under_an_active_pool_is_reported_and_can_be_rescued(machine: Machine) -> None:
    machine.ssh(f"rm {DIR}/data {DIR}/meta; systemctl start devmapper-pool-monitor@{POOL}.service")
    for task, code in ((["pool.status"], 0), (["doctor"], 1), (["pool.grow", "--size", "256M"], 2), (["pool.trim"], 2)):
        said = machine.fab(*task, code=code)
        for file in ("data", "meta"):
            assert f"{DIR}/{file} is gone; its content is still in /dev/loop" in said, task
    assert f"stop nothing; run fab -H {machine.vm.name} pool.rescue" in said
    machine.fab("pool.rescue")
    machine.ssh("losetup -n -O BACK-FILE | grep -c deleted", code=1)
    assert content(machine, 2) == "other content"
    assert "ok 1  changed 0" in machine.fab(*FILES)


def test_a_rescue_that_was_interrupted_is_finished(machine: Machine) -> None:
    """Killed between the two files, and then ended by a failure after the second. Before that, a name is taken."""
    machine.ssh(f"rm {DIR}/data {DIR}/meta; echo precious >{DIR}/data.rescued")
    assert f"{DIR}/data.rescued exists and was not made by this tool" in machine.fab("pool.rescue", code=1)
    assert machine.ssh(f"cat {DIR}/data.rescued; rm {DIR}/data.rescued") == "precious\n"
    wrapper(machine, "mv", "case $* in *data.rescued*) kill -KILL $PPID ;; esac")
    machine.fab("pool.rescue", code=1)
    machine.ssh("rm /usr/local/sbin/mv")
    said = machine.fab("pool.rescue", code=2)
    assert f"hint: dmsetup resume {POOL}" in said
    machine.ssh(f"dmsetup resume {POOL}")
    assert f"{DIR}/meta was written by a rescue that was not finished" in machine.fab("pool.status")
    wrapper(machine, "sync", 'case $* in "-f "*) exit 1 ;; esac')
    machine.fab("pool.rescue", code=1)
    machine.ssh("rm /usr/local/sbin/sync; losetup -n -O BACK-FILE | grep -c deleted")
    machine.fab("pool.rescue")
    assert machine.ssh(f"stat -c '%b %s' {DIR}/meta | awk '{{ print ($1 * 512 >= $2) }}'") == "1\n", "without holes"
    machine.ssh("losetup -n -O BACK-FILE | grep -c deleted", code=1)
    assert content(machine, 2) == "other content"
    assert "ok 1  changed 0" in machine.fab(*FILES)


def test_a_loop_device_on_the_same_path_in_another_mount_namespace_stays(machine: Machine) -> None:
    theirs = f"mount -t tmpfs none {DIR}; truncate -s 8M {DIR}/data; losetup /dev/loop6 {DIR}/data; exec sleep 1000"
    machine.ssh(f"setsid unshare -m sh -c {shlex.quote(theirs)} </dev/null >/dev/null 2>&1 &")
    file = "losetup -n -O BACK-FILE /dev/loop6"
    until(lambda: machine.ssh(file, code=None) == f"{DIR}/data\n", "is not attached", 20)
    machine.ssh(f"systemctl restart {UNIT}")
    assert content(machine, 2) == "other content"
    machine.ssh("losetup -d /dev/loop6; pkill -x -f 'sleep 1000'")


def test_n28_a_reset_finds_devices_whose_files_were_deleted(machine: Machine) -> None:
    """Also what a rescue left that was killed while it wrote the second file."""
    machine.ssh(f"rm {DIR}/data {DIR}/meta")
    wrapper(machine, "truncate", "case $* in *data.rescued*) kill -KILL $PPID ;; esac")
    machine.fab("pool.rescue", code=1)
    machine.ssh(f"rm /usr/local/sbin/truncate; dmsetup resume {POOL}; test -s {DIR}/data.rescued")
    machine.fab("pool.reset", "--yes", "--force")
    assert machine.ssh("losetup -n -O NAME; dmsetup ls --target thin-pool").strip() in ("", "No devices found")
    assert machine.ssh(f"mountpoint {DIR}; ls {DIR}").split()[-1] == "lost+found"
