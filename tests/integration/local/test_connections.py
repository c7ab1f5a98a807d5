"""The way to a host: its key, jump hosts of ~/.ssh/config, gateways of hosts.toml; all are real servers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fabfile.errors import Unreachable
from fabfile.remote import target
from tests.integration.local import sshd
from tests.integration.local.connections import Connect
from tests.integration.machine import run_fab


@pytest.fixture
def stranger(tmp_path: Path) -> str:
    """A public key of nobody."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    return " ".join((tmp_path / "key.pub").read_text().split()[:2])


@pytest.fixture
def jump(server: sshd.Server, tmp_path: Path) -> Iterator[tuple[sshd.Server, str]]:
    """A jump host that takes the keys of the host, and the rules of ~/.ssh/config that lead through it."""
    directory = tmp_path / "jump"
    directory.mkdir()
    with sshd.server(directory) as up:
        (directory / "id.pub").write_text((server.directory / "id.pub").read_text())
        port = up.ports[0]
        yield up, f"Host 127.0.0.1\n ProxyJump root@localhost:{port}\nHost *\n IdentityFile {server.directory / 'id'}\n"


def known(server: sshd.Server, jump: sshd.Server, directory: Path, key: str) -> str:
    """A file of known keys: the host's own, and `key` as that of the jump host; empty: none."""
    file = directory / "known_hosts"
    line = f"[localhost]:{jump.ports[0]} {key}\n" if key else ""
    file.write_text((server.directory / "known").read_text() + line)
    return str(file)


def test_a_jump_host_of_ssh_config_whose_key_is_known(
    server: sshd.Server, connect: Connect, jump: tuple[sshd.Server, str], tmp_path: Path
) -> None:
    through, rules = jump
    key = " ".join((through.directory / "host.pub").read_text().split()[:2])
    machine = connect(rules, known_hosts=known(server, through, tmp_path, key))
    assert target.run(machine, "id -u").stdout == "0\n"
    assert through.log.count("Accepted publickey") == 1
    machine.gateway.transport.packetizer.close()  # the way to the host is gone, before that was noticed
    machine.close()
    assert not machine.is_connected


@pytest.mark.parametrize("kind", ["unknown", "changed"])
def test_a_jump_host_of_ssh_config_is_verified_as_strictly_as_the_host(
    server: sshd.Server, connect: Connect, jump: tuple[sshd.Server, str], tmp_path: Path, stranger: str, kind: str
) -> None:
    through, rules = jump
    file = known(server, through, tmp_path, stranger if kind == "changed" else "")
    with pytest.raises(Unreachable) as unreachable:
        connect(rules, known_hosts=file).open()
    says = "is unknown" if kind == "unknown" else "has changed"
    assert f"(root@localhost:{through.ports[0]}), on the way to h0: the host key {says}" in unreachable.value.what
    assert "Accepted" not in through.log, "nothing was offered to it"


@pytest.mark.parametrize("kind", ["unknown", "changed", "revoked"])
def test_a_host_whose_key_is_not_the_known_one(
    server: sshd.Server, connect: Connect, tmp_path: Path, stranger: str, kind: str
) -> None:
    own = (server.directory / "known").read_text()
    lines = {
        "unknown": "",
        "changed": f"[127.0.0.1]:{server.ports[0]} {stranger}\n",
        "revoked": f"{own}@revoked {own}",
    }
    (tmp_path / "known_hosts").write_text(lines[kind])
    before = server.log.count("Accepted")
    with pytest.raises(Unreachable, match={"unknown": "is unknown", "changed": "has changed"}.get(kind, "is revoked")):
        connect(known_hosts=str(tmp_path / "known_hosts")).open()
    assert server.log.count("Accepted") == before


def test_a_revoked_key_of_another_host_is_no_obstacle(
    server: sshd.Server, connect: Connect, tmp_path: Path, stranger: str
) -> None:
    lines = f"@revoked * {stranger}\n@cert-authority *.example {stranger}\n"
    (tmp_path / "known_hosts").write_text(lines + (server.directory / "known").read_text())
    assert target.run(connect(known_hosts=str(tmp_path / "known_hosts")), "echo in").stdout == "in\n"


def test_fifteen_hosts_behind_a_gateway_that_lets_few_in_are_one_login_to_it(tmp_path: Path) -> None:
    with behind_a_gateway(tmp_path, 15) as (file, gateway, behind):
        said = run_fab("-H", "hosts", "--exclude", "gate", "run", "--command", "echo here", inventory=file)
        assert "ok 15  changed 0  failed 0  unreachable 0" in said
        assert gateway.log.count("Accepted publickey") == 1 and behind.log.count("Accepted publickey") == 15


@contextmanager
def behind_a_gateway(directory: Path, count: int) -> Iterator[tuple[Path, sshd.Server, sshd.Server]]:
    """Start hosts behind the gateway `gate`, which lets few in.

    Args:
        directory: an empty one.
        count: number of hosts.

    Returns:
        The inventory, the gateway, and the server of all the hosts.
    """
    parts = [directory / name for name in ("gateway", "behind")]
    for part in parts:
        part.mkdir()
    with (
        sshd.server(parts[0], options=["MaxStartups=2", "MaxSessions=1"]) as gateway,
        sshd.server(parts[1], hosts=count, options=[f"MaxStartups={count + 1}"]) as behind,
    ):
        (parts[0] / "id.pub").write_text((parts[1] / "id.pub").read_text())
        (parts[1] / "known").write_text((parts[0] / "known").read_text() + (parts[1] / "known").read_text())
        file = behind.inventory()
        hosts = file.read_text().replace("port = ", "gateway = 'gate'\nport = ")
        file.write_text(f"{hosts}[hosts.gate]\naddress = '127.0.0.1'\nport = {gateway.ports[0]}\n")
        yield file, gateway, behind
