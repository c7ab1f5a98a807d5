"""Connections: strict about host keys; every failure is an Unreachable with what to do. No socket is opened."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import paramiko
import pytest
from fabric import Config
from paramiko.config import SSHConfig
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    NoValidConnectionsError,
    PasswordRequiredException,
    SSHException,
)

from fabfile import inventory, paths, ssh
from fabfile.errors import Unreachable
from fabfile.inventory import Host

HOST = Host(name="a", address="192.0.2.1", port=2222, user="admin", known_hosts="/k")
KEYS = [paramiko.ECDSAKey.generate() for _ in range(2)]

FAILURES: dict[str, tuple[Exception, str, str, str]] = {
    "changed key": (
        BadHostKeyException("a", KEYS[0], KEYS[1]),
        "the host key has changed",
        "somebody is in between",
        "ssh-keygen -f /k -R '[192.0.2.1]:2222', then ssh-keyscan -p 2222 192.0.2.1 >> /k",
    ),
    "unknown key": (
        SSHException("Server '[192.0.2.1]:2222' not found in known_hosts"),
        "the host key is unknown",
        "no key for [192.0.2.1]:2222 in /k",
        "ssh-keyscan -p 2222 192.0.2.1 >> /k",
    ),
    "passphrase": (PasswordRequiredException("encrypted"), "the key has a passphrase", "encrypted", "ssh-add"),
    "login": (AuthenticationException("no"), "login refused", "no", "try: ssh -p 2222 admin@192.0.2.1"),
    "refused": (
        NoValidConnectionsError({("192.0.2.1", 2222): ConnectionRefusedError(111, "Connection refused")}),
        "no connection",
        "Connection refused",
        "is it up",
    ),
    "name": (socket.gaierror(-2, "Name or service not known"), "no connection", "Name or service", "is it up"),
    "timeout": (TimeoutError(), "no connection", "TimeoutError", "is it up"),
    "no banner": (SSHException("Error reading SSH protocol banner"), "no connection", "banner", "is it up"),
    "hung up": (EOFError(), "no connection", "EOFError", "is it up"),
}


def config() -> Config:
    """Fabric's configuration without anybody's ~/.ssh/config."""
    return Config(ssh_config=SSHConfig(), system_prefix="/nonexistent/", user_prefix="/nonexistent/")


@pytest.mark.parametrize(("error", "what", "details", "hint"), FAILURES.values(), ids=FAILURES.keys())
def test_failure(monkeypatch: pytest.MonkeyPatch, error: Exception, what: str, details: str, hint: str) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(paramiko.SSHClient, "connect", fail)
    machine = ssh.connect(HOST, inventory.Inventory(Path("f"), Host(), 1, {"a": HOST}, {}), config())
    with pytest.raises(Unreachable) as unreachable:
        machine.open()
    problem = unreachable.value
    assert problem.what == f"a (admin@192.0.2.1:2222): {what}"
    assert details in problem.details
    assert hint in problem.hint
    assert problem.code == 4
    assert problem.__cause__ is error


def test_the_message_of_paramikos_own_policy_is_recognised() -> None:
    client = paramiko.SSHClient()
    client._log = lambda level, message: None  # type: ignore[method-assign]  # before connect it has nothing to log to
    with pytest.raises(SSHException) as raised:
        paramiko.RejectPolicy().missing_host_key(client, "[192.0.2.1]:2222", KEYS[0])
    problem = ssh._unreachable(HOST, raised.value)
    assert "the host key is unknown" in problem.what


def test_a_host_on_port_22_is_named_without_it() -> None:
    problem = ssh._unreachable(Host(name="a", address="h", known_hosts="/k"), BadHostKeyException("h", *KEYS))
    assert "ssh-keygen -f /k -R 'h'" in problem.hint


@pytest.mark.parametrize(
    ("known", "word"),
    [("~/.ssh/known_hosts", "~/.ssh/known_hosts"), ("/a b/k'", """'/a b/k'"'"''"""), ("~/a b;c", "~/'a b;c'")],
)
def test_the_commands_of_a_hint_work_whatever_the_file_is_called(known: str, word: str) -> None:
    host = Host(name="a", address="h", known_hosts=known)
    changed = ssh._unreachable(host, BadHostKeyException("h", *KEYS))
    assert f"ssh-keygen -f {word} -R 'h', then ssh-keyscan -p 22 h >> {word}" in changed.hint
    unknown = ssh._unreachable(host, SSHException("Server 'h' not found in known_hosts"))
    assert unknown.hint.endswith(f"ssh-keyscan -p 22 h >> {word}")


def test_unknown_keys_are_rejected_and_known_ones_loaded(home: Path) -> None:
    known = home / "known"
    known.write_text(f"[192.0.2.1]:2222 {KEYS[0].get_name()} {KEYS[0].get_base64()}\n")
    host = Host(name="a", address="192.0.2.1", port=2222, known_hosts="~/known")
    machine = ssh.Machine(host, config())
    assert isinstance(machine.client._policy, paramiko.RejectPolicy)
    assert machine.client._system_host_keys.check("[192.0.2.1]:2222", KEYS[0])
    assert not machine.client._system_host_keys.check("[192.0.2.1]:2222", KEYS[1])


def test_a_missing_known_hosts_file_knows_nobody() -> None:
    machine = ssh.Machine(Host(name="a", address="192.0.2.1", known_hosts="~/none"), config())
    assert "192.0.2.1" not in machine.client._system_host_keys
    assert isinstance(machine.client._policy, paramiko.RejectPolicy)


def test_what_a_host_says_of_its_connection(home: Path) -> None:
    host = Host(name="a", address="192.0.2.1", port=2222, user="admin", identity_file="~/key", connect_timeout=7)
    machine = ssh.Machine(host, config())
    assert (machine.host, machine.port, machine.user, machine.connect_timeout) == ("192.0.2.1", 2222, "admin", 7)
    assert machine.connect_kwargs["key_filename"] == [str(home / "key")]
    assert machine.connect_kwargs["look_for_keys"] is False
    assert machine.host_entry is host


def test_without_an_identity_file_the_agent_and_the_usual_keys_serve() -> None:
    machine = ssh.Machine(Host(name="a", address="192.0.2.1"), config())
    assert "key_filename" not in machine.connect_kwargs
    assert "look_for_keys" not in machine.connect_kwargs


def test_a_host_is_reached_through_its_gateways_each_as_strict() -> None:
    paths.inventory().write_text(
        "[hosts.out]\n[hosts.mid]\ngateway = 'out'\nidentity_file = '/mid'\n[hosts.in]\ngateway = 'mid'\n"
    )
    fleet = inventory.load()
    machine = ssh.connect(fleet.hosts["in"], fleet, config())
    way = [machine, machine.gateway, machine.gateway.gateway]
    assert [step.host for step in way] == ["in", "mid", "out"]
    assert way[-1].gateway is None
    assert all(isinstance(step.client._policy, paramiko.RejectPolicy) for step in way)


def test_nothing_of_one_host_leaks_to_the_next() -> None:
    paths.inventory().write_text("[hosts.a]\nidentity_file = '/a'\n[hosts.b]\n")
    fleet, shared = inventory.load(), config()
    a, b = (ssh.connect(fleet.hosts[name], fleet, shared) for name in "ab")
    assert a.connect_kwargs["key_filename"] == ["/a"]
    assert "key_filename" not in b.connect_kwargs
    assert a.config is not b.config
    assert "key_filename" not in shared.connect_kwargs
