"""~/.ssh/config: what it sets where the inventory says nothing, and mistakes in it, by file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from paramiko import SSHConfig

from fabfile.errors import Refused
from fabfile.host import Host
from fabfile.ssh import config, identity

HOST = Host(name="a", address="a.example")


@pytest.mark.parametrize(
    ("rules", "said", "user", "port"),
    [
        ("Host a.example\n User alice\n Port 2200\n", (), "alice", 2200),
        ("Host a.example\n User alice\n Port 2200\n", ("user", "port"), "root", 22),
        ("Host a.example\n User alice\n Port 2200\n", ("user",), "root", 2200),
        ("Host other\n User alice\n", (), "root", 22),
        ("", (), "root", 22),
    ],
)
def test_it_names_user_and_port_where_the_inventory_does_not(
    rules: str, said: tuple[str, ...], user: str, port: int
) -> None:
    host = config.applied(HOST, said, SimpleNamespace(base_ssh_config=SSHConfig.from_text(rules)))
    assert (host.user, host.port) == (user, port)


@pytest.mark.parametrize("port", ["ssh", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    rules = SSHConfig.from_text(f"Host *\n Port {port}\n")
    with pytest.raises(Refused, match="is not a port"):
        config.applied(HOST, (), SimpleNamespace(base_ssh_config=rules))


@pytest.mark.parametrize("content", [b"Port\n", b"Match nonsense\n", b"Host \xff\n", b'Host "a\n'])
def test_a_file_that_cannot_be_read_is_named(home: Path, content: bytes) -> None:
    file = home / ".ssh/config"
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(Refused, match=str(file)):
        config.check(None)
    with pytest.raises(Refused, match="/nowhere"):
        config.check("/nowhere")


def test_without_a_file_there_is_nothing_to_refuse(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "FILES", config.FILES[:1])
    config.check(None)
    (home / "mine").write_text("Host a\n User b\n")
    config.check(str(home / "mine"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", ""),
        ("-----BEGIN RSA PRIVATE KEY-----\n", ""),
        ("ssh-ed25519 AAAA a@b\n", "it is a public key"),
        ("ecdsa-sha2-nistp256 AAAA\n", "it is a public key"),
        ("", "it is not a private key"),
    ],
)
def test_a_private_key_is_known_by_its_first_line(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "key").write_text(content)
    assert identity.wrong(tmp_path / "key") == why


def test_beside_a_public_key_the_private_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA\n")
    assert identity.wrong(tmp_path / "key.pub") == "it is a public key"
    (tmp_path / "key").touch()
    identity.wrong.cache_clear()
    assert identity.wrong(tmp_path / "key.pub").endswith(f"; {tmp_path / 'key'} may be the private one")
