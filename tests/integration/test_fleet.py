"""Several hosts at once: throwaway privileged containers on one kernel, each with a pool of its own.

They run on this machine's kernel where that has dm-thin, else in a VM. The tests build on each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import toml

from fabfile.lab import kinds, machines
from fabfile.lab.vm import free_ports
from tests import container
from tests.container import Container
from tests.integration.conftest import started
from tests.integration.machine import run_fab

NAMES = ("c1", "c2", "c3")
INNER = (2201, 2202, 2203)


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest, lab: Path, suite: str, kind: str) -> Iterator[dict[str, Container]]:
    """Three containers: two fine ones, of which one lacks a package, and one on which the deploy must fail."""
    with ExitStack() as stack:
        if container.has_thin_pools():
            machines.up(1, suite)  # its inventory has the mirror, the registry and a key
            authorized = (lab / "id_ed25519.pub").read_text().strip()
            site = stack.enter_context(container.here(kinds.choose(suite, kind)[1], authorized))
            ports = inner = tuple(free_ports(len(NAMES)))
        else:
            machine = stack.enter_context(started(request, suite, forward=INNER, memory=2560))
            site, inner = container.inside(machine.vm), INNER
            ports = tuple(here for here, _ in machine.vm.forward)
        found = {
            name: stack.enter_context(site.container(name, port, inside))
            for name, port, inside in zip(NAMES, ports, inner, strict=True)
        }
        found["c1"].sh("dpkg --purge --force-depends thin-provisioning-tools >/dev/null")
        found["c3"].sh("touch /etc/devmapper-pool")  # a file where our directory has to be
        yield found
        # A pool belongs to the kernel, not to the container: it would outlive it.
        for host in found.values():
            host.sh("systemctl stop containerd || true")
            for unit in host.sh("systemctl list-units --plain -q 'devmapper-pool@*' | cut -d' ' -f1").split():
                host.sh(f"systemctl stop {unit}")


def inventory(lab: Path, fleet: dict[str, Container], directory: Path, **changes: dict[str, Any]) -> Path:
    """An inventory of the containers and a host that is down; `changes` are settings of single hosts."""
    known = directory / "known_hosts"
    lines = [f"[127.0.0.1]:{port} {c.host_key}\n" for c in fleet.values() for port in {c.port, c.inner}]
    known.write_text("".join(lines))
    document = toml.loads((lab / "hosts.toml").read_text())
    document["defaults"]["known_hosts"] = str(known)
    document["groups"] = {"good": ["c1", "c2"]}
    document["hosts"] = {
        name: {"address": "127.0.0.1", "port": c.port, "pool": {"name": f"pool-{name}", "size": "1G"}}
        for name, c in fleet.items()
    }
    (free,) = free_ports(1)
    document["hosts"]["down"] = {"address": "127.0.0.1", "port": free}
    for name, change in changes.items():
        document["hosts"][name] |= change
    file = directory / "hosts.toml"
    file.write_text(toml.dumps(document))
    return file


@pytest.fixture
def hosts(lab: Path, fleet: dict[str, Container], tmp_path: Path) -> Path:
    """The inventory."""
    return inventory(lab, fleet, tmp_path)


def test_all_hosts_at_once_and_one_that_fails_does_not_stop_the_others(
    fleet: dict[str, Container], hosts: Path
) -> None:
    output = run_fab("-H", "hosts", "deploy", code=1, inventory=hosts)
    lines = output.splitlines()
    table = {words[0]: words[1] for line in lines if len(words := line.split()) > 3 and words[3] == "s"}
    assert table == {"c1": "changed", "c2": "changed", "c3": "failed", "down": "unreachable"}, output
    assert "ok 0  changed 2  failed 1  unreachable 1" in lines
    summary = lines.index(next(line for line in lines if re.match(r"step +median +longest", line)))
    assert all(re.match(r"(c1|c2|c3|down): |$", line) for line in lines[:summary]), output
    assert re.search(r"^to retry the hosts .*: fab --retry-from \S+ deploy$", output, re.MULTILINE)
    assert re.search(r"^c3 .* pool\.loop: .*failed", output, re.MULTILINE)
    assert re.search(r"^c1: changed\s+packages .*thin-provisioning-tools", output, re.MULTILINE)
    for name in ("c1", "c2"):
        assert re.search(r"devmapper\s+\S+\s+ok", fleet[name].sh("ctr plugins ls"))
        assert "1.0G" in run_fab("-H", name, "pool.status", inventory=hosts)


def test_the_pools_are_apart(fleet: dict[str, Container], hosts: Path) -> None:
    listing = fleet["c1"].sh("dmsetup ls --target thin-pool")
    assert {"pool-c1", "pool-c2"} <= set(listing.split())
    said = run_fab("-H", "good", "smoke", inventory=hosts)
    assert said.count("Hello from containerd!") == 4
    assert "/dev/mapper/pool-c1-snap-" in said and "/dev/mapper/pool-c2-snap-" in said


def test_a_rerun_changes_nothing_anywhere(hosts: Path) -> None:
    assert "ok 2  changed 0  failed 0  unreachable 0" in run_fab("-H", "good", "deploy", inventory=hosts)


def test_only_unreachable_hosts_have_an_exit_code_of_their_own(hosts: Path) -> None:
    output = run_fab("-H", "down", "status", code=4, inventory=hosts)
    assert "cannot connect" in output and "hint: check that the host is up" in output
    assert "unreachable 1" in output


def test_through_a_gateway_whose_key_is_checked_too(lab: Path, fleet: dict[str, Container], tmp_path: Path) -> None:
    behind = {"gateway": "c1", "address": "127.0.0.1", "port": fleet["c2"].inner}
    file = inventory(lab, fleet, tmp_path, c2=behind)
    assert "pool-c2: rw" in run_fab("-H", "c2", "pool.status", inventory=file)
    known = tmp_path / "known_hosts"
    known.write_text("".join(line for line in known.open() if f":{fleet['c1'].port} " not in line))
    refused = run_fab("-H", "c2", "pool.status", code=4, inventory=file)
    assert re.search(r"c1 \(.*the host key is unknown", refused)


def test_hosts_behind_a_gateway_share_one_connection_to_it(
    lab: Path, fleet: dict[str, Container], tmp_path: Path
) -> None:
    logins = "journalctl -b -u ssh.service --no-pager | grep -c 'Accepted publickey'"
    behind = {name: {"gateway": "c1", "address": "127.0.0.1", "port": fleet[name].inner} for name in ("c2", "c3")}
    before = int(fleet["c1"].sh(logins))
    output = run_fab("-H", "c2,c3", "run", "--command", "hostname", inventory=inventory(lab, fleet, tmp_path, **behind))
    assert {"c2: c2", "c3: c3"} <= set(output.splitlines())
    assert int(fleet["c1"].sh(logins)) == before + 1


def test_a_command_on_every_host(hosts: Path) -> None:
    output = run_fab("-H", "good", "run", "--command", "hostname; exit 0", inventory=hosts)
    assert {"c1: c1", "c2: c2"} <= set(output.splitlines())
    assert "exit code 7" in run_fab("-H", "c1", "run", "--command", "exit 7", code=1, inventory=hosts)


def test_the_lock_names_who_holds_it(fleet: dict[str, Container], hosts: Path) -> None:
    hold = "flock -o /run/containerd-devmapper.lock sleep 60 >/dev/null 2>&1 & echo $! >/run/holder"
    record = 'echo "held by alice from 192.0.2.1, since noon, pid $(cat /run/holder)" >/run/containerd-devmapper.lock'
    fleet["c1"].sh(f"{hold}; {record}")
    fleet["c1"].sh("systemctl stop containerd")
    try:
        output = run_fab("-H", "c1", "containerd.configure", code=1, inventory=hosts)
        assert "another operator is changing the host" in output and "held by alice" in output
    finally:
        fleet["c1"].sh("kill $(cat /run/holder); rm /run/holder")
    assert "changed 1" in run_fab("-H", "c1", "containerd.configure", inventory=hosts)
