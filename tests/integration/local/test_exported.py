"""A configuration that inventory.export writes: ssh reads it, and reaches hosts by it, through their gateways."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fabfile.exchange import ansible_export
from fabfile.inventory import load
from fabfile.paths import REPOSITORY
from tests.integration.local import sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """Three hosts."""
    with sshd.server(tmp_path_factory.mktemp("sshd"), 3) as up:
        yield up


def exported(inventory: Path, file: Path) -> Path:
    """The configuration for an inventory."""
    environment = {**os.environ, "HOSTS_FILE": str(inventory)}
    command = [str(Path(sys.executable).with_name("inv")), "inventory.export", "--format", "ssh-config"]
    file.write_text(subprocess.check_output(command, cwd=REPOSITORY, env=environment, text=True))
    return file


def test_ssh_connects_by_names_and_through_gateways(server: sshd.Server, tmp_path: Path) -> None:
    inventory = server.inventory()
    text = inventory.read_text().replace("[hosts.h2]", "gateway = 'h0'\n[hosts.h2]") + "gateway = 'h1'\n"
    inventory.write_text(text)
    file = exported(inventory, tmp_path / "config")
    for name in ("h0", "h1", "h2"):
        port = server.ports[int(name[1])]
        said = subprocess.check_output(["ssh", "-F", file, name, "echo $SSH_CONNECTION"], text=True)
        assert said.split()[-1] == str(port)
    (server.directory / "known").write_text("")
    refused = subprocess.run(["ssh", "-F", file, "h0", "true"], capture_output=True, text=True, check=False)
    assert refused.returncode == 255 and "Host key verification failed" in refused.stderr


def test_every_value_is_the_one_that_ssh_reads(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.toml"
    inventory.write_text(
        "[hosts.'a.example']\naddress = 'fe80::1%lo'\nport = 2222\nuser = 'é#x'\nidentity_file = '/a b/100%/k'\n"
        "known_hosts = '/k#1'\nconnect_timeout = 7\n"
    )
    file = exported(inventory, tmp_path / "config")
    said = subprocess.check_output(["ssh", "-G", "-F", file, "a.example"], text=True)
    found = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    assert {
        "hostname": "fe80::1%lo", "port": "2222", "user": "é#x", "identityfile": "/a b/100%%/k",
        "userknownhostsfile": "/k#1", "connecttimeout": "7", "stricthostkeychecking": "true",
    }.items() <= found.items()  # fmt: skip


def test_ssh_takes_the_zones_of_gateways_from_an_inventory_for_ansible(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.toml"
    inventory.write_text(
        "[hosts.out]\naddress = 'fe80::1%lo'\n[hosts.mid]\naddress = 'fe80::2%lo'\ngateway = 'out'\n"
        "[hosts.in]\ngateway = 'mid'\n"
    )
    hosts = yaml.safe_load(ansible_export.text(load(inventory)))["all"]["hosts"]
    jump = shlex.split(hosts["in"]["ansible_ssh_common_args"])
    command = ["ssh", "-v", "-F", "/dev/null", *jump, "in"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    executed = [line for line in done.stderr.splitlines() if "Executing proxy command" in line]
    assert [line.rpartition(" ")[2] for line in executed] == ["fe80::2%lo", "fe80::1%lo"], done.stderr
