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
    IncompatiblePeer,
    NoValidConnectionsError,
    PasswordRequiredException,
    SSHException,
)

from fabfile import inventory, paths
from fabfile.errors import Unreachable
from fabfile.host import Host
from fabfile.ssh import machine as machine_module
from fabfile.ssh.connections import Connections
from fabfile.ssh.failure import unreachable
from fabfile.ssh.known_hosts import Changed, Revoked, Unknown
from fabfile.ssh.known_lines import KnownKey
from fabfile.ssh.machine import Machine

HOST = Host(name="a", address="192.0.2.1", port=2222, user="admin", known_hosts="/k")
KEYS = [paramiko.ECDSAKey.generate() for _ in range(2)]

EXPECTED = KnownKey("ecdsa-sha2-nistp256", KEYS[1].asbytes())


def reset(error: Exception) -> Exception:
    """As Paramiko raises it where the connection is reset."""
    error.__context__ = ConnectionResetError()
    return error


FAILURES: dict[str, tuple[Exception, str, str, str]] = {
    "changed key": (
        Changed(EXPECTED, KEYS[0].asbytes()),
        "the host key has changed",
        "somebody intercepts the connection",
        "ssh-keygen -f /k -R '[192.0.2.1]:2222', then inv ssh.trust a",
    ),
    "unknown key": (
        Unknown(""),
        "the host key is unknown",
        "no key for [192.0.2.1]:2222 in /k",
        "compare its fingerprint and record it: inv ssh.trust a",
    ),
    "revoked key": (Revoked(), "the host key is revoked", "a @revoked line in /k", ""),
    "passphrase": (PasswordRequiredException("encrypted"), "the key has a passphrase", "encrypted", "ssh-add"),
    "login": (AuthenticationException("no"), "login refused", "no", "try: ssh -p 2222 admin@192.0.2.1"),
    "refused": (
        NoValidConnectionsError({("192.0.2.1", 2222): ConnectionRefusedError(111, "Connection refused")}),
        "cannot connect",
        "Connection refused",
        "check that the host is up",
    ),
    "name": (
        socket.gaierror(-2, "Name or service not known"),
        "cannot connect",
        "Name or service",
        "check that the host is up",
    ),
    "timeout": (TimeoutError(), "cannot connect", "no answer in time: connect_timeout is 20 s", "check that"),
    "silence": (SSHException("No existing session"), "cannot connect", "no answer in time", "check that"),
    "slow login": (AuthenticationException("Authentication timeout."), "cannot connect", "60 s for each step", "check"),
    "no key": (SSHException("No authentication methods available"), "login refused", "no key to offer", "ssh-add"),
    "no cipher": (IncompatiblePeer("Incompatible ssh server (no acceptable ciphers)"), "no cipher in common", "", ""),
    "no banner": (
        SSHException("Error reading SSH protocol banner"),
        "cannot connect",
        "it closes the connection, 6 times",
        "ssh -v",
    ),
    "reset": (
        reset(SSHException("Error reading SSH protocol banner[Errno 104] Connection reset by peer")),
        "cannot connect",
        "it closes the connection, 6 times",
        "ssh -v",
    ),
    "hung up": (EOFError(), "cannot connect", "it closes the connection, 6 times", "ssh -v"),
}


def config() -> Config:
    """Fabric's configuration without anybody's ~/.ssh/config."""
    return Config(ssh_config=SSHConfig(), system_prefix="/nonexistent/", user_prefix="/nonexistent/")


@pytest.mark.parametrize(("error", "what", "details", "hint"), FAILURES.values(), ids=FAILURES.keys())
def test_failure(monkeypatch: pytest.MonkeyPatch, error: Exception, what: str, details: str, hint: str) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(paramiko.SSHClient, "connect", fail)
    monkeypatch.setattr(machine_module, "PAUSE", 0)
    machine = Connections(inventory.Inventory(Path("f"), Host(), 1, {"a": HOST}, {}), config()).to(HOST)
    with pytest.raises(Unreachable) as unreachable:
        machine.open()
    problem = unreachable.value
    assert problem.what == f"a (admin@192.0.2.1:2222): {what}"
    assert details in problem.details
    assert hint in problem.hint
    assert problem.code == 4
    assert problem.__cause__ is error


def test_the_fingerprint_is_the_one_that_ssh_keygen_prints() -> None:
    problem = failure(Host(name="a", address="h", known_hosts="/k"), Changed(EXPECTED, KEYS[0].asbytes()))
    assert f"expected the {EXPECTED.kind} key {KEYS[1].fingerprint}\n" in problem.details
    assert f"the host has the {EXPECTED.kind} key {KEYS[0].fingerprint}\n" in problem.details


def test_a_host_on_port_22_is_named_without_it() -> None:
    problem = failure(Host(name="a", address="h", known_hosts="/k"), Changed(EXPECTED, KEYS[0].asbytes()))
    assert "ssh-keygen -f /k -R 'h'" in problem.hint or "ssh-keygen -f /k -R h" in problem.hint


@pytest.mark.parametrize(
    ("known", "word"),
    [("~/.ssh/known_hosts", "~/.ssh/known_hosts"), ("/a b/k'", """'/a b/k'"'"''"""), ("~/a b;c", "~/'a b;c'")],
)
def test_the_commands_of_a_hint_work_whatever_the_file_is_called(known: str, word: str) -> None:
    host = Host(name="a", address="h", known_hosts=known)
    hint = failure(host, Changed(EXPECTED, KEYS[0].asbytes())).hint
    assert hint == f"once you are sure: ssh-keygen -f {word} -R 'h', then inv ssh.trust a"
    hop = Machine(host, config(), None, "me@out:2200")
    said = f"compare its fingerprint and record it: inv ssh.trust me@out:2200 --known-hosts {word}"
    assert unreachable(hop, Unknown("")).hint == said


def failure(host: Host, error: Exception) -> Unreachable:
    return unreachable(Machine(host, config()), error)


def test_what_a_host_says_of_its_connection(home: Path) -> None:
    host = Host(name="a", address="192.0.2.1", port=2222, user="admin", identity_file="~/key", connect_timeout=7)
    machine = Machine(host, config())
    assert (machine.host, machine.port, machine.user, machine.connect_timeout) == ("192.0.2.1", 2222, "admin", 7)
    assert machine.connect_kwargs["key_filename"] == [str(home / "key")]
    assert machine.connect_kwargs["look_for_keys"] is False
    assert machine.host_entry is host


def test_the_limit_of_the_command_line_comes_before_that_of_each_host_and_gateway() -> None:
    paths.inventory().write_text("[hosts.gw]\n[hosts.a]\nconnect_timeout = 7\ngateway = 'gw'\n")
    fleet, fabric = inventory.load(), config()
    assert Connections(fleet, fabric).to(fleet.hosts["a"]).connect_timeout == 7
    fabric.load_overrides({"connect_kwargs": {"timeout": 2}})  # as Fabric does for -t 2
    machine = Connections(fleet, fabric).to(fleet.hosts["a"])
    assert (machine.connect_timeout, machine.gateway.connect_timeout) == (2, 2)
    assert machine.host_entry.connect_timeout == 2


def test_without_an_identity_file_the_agent_and_the_usual_keys_serve() -> None:
    machine = Machine(Host(name="a", address="192.0.2.1"), config())
    assert "key_filename" not in machine.connect_kwargs
    assert "look_for_keys" not in machine.connect_kwargs


def test_a_host_is_reached_through_its_gateways_each_as_strict() -> None:
    paths.inventory().write_text(
        "[hosts.out]\n[hosts.mid]\ngateway = 'out'\nidentity_file = '/mid'\n[hosts.in]\ngateway = 'mid'\n"
    )
    fleet = inventory.load()
    machine = Connections(fleet, config()).to(fleet.hosts["in"])
    way = [machine, machine.gateway, machine.gateway.gateway]
    assert [step.host for step in way] == ["in", "mid", "out"]
    assert way[-1].gateway is None
    assert all(isinstance(step, Machine) for step in way)


def test_every_hop_of_ssh_config_is_as_strict_as_the_host() -> None:
    rules = SSHConfig.from_text(
        "Host in\n ProxyJump me@out:2200, mid\n User nobody\nHost mid\n HostName 192.0.2.7\n User other\n Port 2201\n"
        "Host none\n ProxyJump none\n"
    )
    fabric = Config(ssh_config=rules, system_prefix="/nonexistent/", user_prefix="/nonexistent/")
    host = Host(name="in", address="in", known_hosts="/k")
    machine = Machine(host, fabric)
    way = [machine, machine.gateway, machine.gateway.gateway]
    assert [(step.user, step.host, step.port) for step in way] == [
        ("root", "in", 22), ("other", "192.0.2.7", 2201), ("me", "out", 2200),
    ]  # fmt: skip
    assert all(isinstance(step, Machine) and step.host_entry is host for step in way)
    assert way[-1].gateway is None
    assert Machine(Host(name="none", address="none"), fabric).gateway is None
    problem = unreachable(way[1], Unknown(""))
    assert problem.what == "mid (other@192.0.2.7:2201), on the way to in: the host key is unknown"


@pytest.mark.parametrize(
    ("rules", "hops"),
    [
        ("Host *\n ProxyJump out\n", ["out"]),
        ("Host in\n ProxyJump a\nHost a\n ProxyJump b\nHost b\n ProxyJump in\n", ["a", "b"]),
        ("Host in\n ProxyJump in\n", []),
        ("Host other\n ProxyJump out\n", []),
    ],
    ids=["everybody's", "a ring", "itself", "none"],
)
def test_hops_of_hops(rules: str, hops: list[str]) -> None:
    fabric = Config(ssh_config=SSHConfig.from_text(rules), system_prefix="/nonexistent/", user_prefix="/nonexistent/")
    step, found = Machine(Host(name="in", address="in"), fabric), []
    while step := step.gateway:
        assert isinstance(step, Machine)
        found.append(step.host)
    assert found == hops


def test_the_agent_is_never_forwarded() -> None:
    rules = SSHConfig.from_text("Host *\n ForwardAgent yes\n ProxyJump mid, out\n")
    overrides = {"forward_agent": True}
    fabric = Config(overrides, ssh_config=rules, system_prefix="/nonexistent/", user_prefix="/nonexistent/")
    step, seen = Machine(HOST, fabric), []
    while step:
        seen.append(step.forward_agent)
        step = step.gateway
    assert seen == [False, False, False]


def test_nothing_of_one_host_leaks_to_the_next() -> None:
    paths.inventory().write_text("[hosts.a]\nidentity_file = '/a'\n[hosts.b]\n")
    fleet, shared = inventory.load(), config()
    ways = Connections(fleet, shared)
    a, b = (ways.to(fleet.hosts[name]) for name in "ab")
    assert a.connect_kwargs["key_filename"] == ["/a"]
    assert "key_filename" not in b.connect_kwargs
    assert "key_filename" not in shared.connect_kwargs


@pytest.mark.parametrize(
    ("defaults", "word", "user", "port"),
    [
        ("", "you@192.0.2.1", "you", 2200),
        ("", "192.0.2.1:22", "me", 22),
        ("", "root@192.0.2.1:22", "root", 22),
        ("user = 'admin'", "192.0.2.1:22", "admin", 22),
        ("", "you@a", "you", 7),
        ("", "a", "me", 7),
    ],
)
def test_what_was_typed_comes_before_ssh_config(defaults: str, word: str, user: str, port: int) -> None:
    paths.inventory().write_text(f"[defaults]\n{defaults}\n[hosts.a]\nport = 7\n")
    rules = SSHConfig.from_text("Host *\n Port 2200\n User me\n")
    fabric = Config(ssh_config=rules, system_prefix="/nonexistent/", user_prefix="/nonexistent/")
    fleet = inventory.load()
    (host,) = fleet.resolve([word])
    machine = Connections(fleet, fabric).to(host)
    assert (machine.user, machine.port) == (user, port)


def test_all_hosts_behind_a_gateway_share_one_connection_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    paths.inventory().write_text(
        "[hosts.out]\n[hosts.mid]\ngateway = 'out'\n[hosts.a]\ngateway = 'mid'\n[hosts.b]\ngateway = 'mid'\n[hosts.c]\n"
    )
    fleet, ended = inventory.load(), []
    monkeypatch.setattr(Machine, "close", lambda machine: ended.append(machine.host))
    with Connections(fleet, config()) as ways:
        a, b, c = (ways.to(fleet.hosts[name]) for name in "abc")
        assert a is not b and a.gateway is b.gateway and a.gateway.host == "mid"
        assert c.gateway is None
    assert ended == ["mid", "out"]


def test_all_hosts_behind_a_hop_of_ssh_config_share_one_connection_to_it() -> None:
    rules = SSHConfig.from_text("Host a b\n ProxyJump out,mid\nHost c\n ProxyJump mid\n")
    fabric = Config(ssh_config=rules, system_prefix="/nonexistent/", user_prefix="/nonexistent/")
    a, b, c = (Host(name=name, address=name) for name in "abc")
    ways = Connections(inventory.Inventory(Path("f"), Host(), 1, {}, {}), fabric)
    way_a, way_b, way_c = (ways.to(host).gateway for host in (a, b, c))
    assert way_a is way_b and way_a.gateway.host == "out"
    assert way_c is not way_a and way_c.gateway is None
    assert ways.to(Host(name="a", address="a", known_hosts="/other")).gateway is not way_a


def test_a_gateway_that_is_not_reached_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    paths.inventory().write_text("[hosts.out]\n[hosts.a]\ngateway = 'out'\n[hosts.b]\ngateway = 'out'\n")
    fleet, tried = inventory.load(), []

    def fail(*args: Any, **options: Any) -> None:
        tried.append(options["hostname"])
        raise TimeoutError

    monkeypatch.setattr(paramiko.SSHClient, "connect", fail)
    ways = Connections(fleet, config())
    for name in "ab":
        with pytest.raises(Unreachable, match=r"out .*: cannot connect"):
            ways.to(fleet.hosts[name]).open()
    assert tried == ["out"]


def test_what_ssh_config_says_is_read_once_for_all_hosts(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("".join(f"Host h{number}\n  Port {1000 + number}\n" for number in range(50)))
    fabric = Config(runtime_ssh_path=str(file), system_prefix="/nonexistent/", user_prefix="/nonexistent/")
    before = len(fabric.base_ssh_config._config)
    hosts = {f"h{number}": Host(name=f"h{number}", address=f"h{number}") for number in range(50)}
    ways = Connections(inventory.Inventory(Path("f"), Host(), 1, hosts, {}), fabric)
    machines = [ways.to(host) for host in hosts.values()]
    assert [machine.port for machine in machines] == [1000 + number for number in range(50)]
    assert len(fabric.base_ssh_config._config) == before
    assert all(machine.config is fabric for machine in machines)


def test_a_private_key_is_read_once_for_all_hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain, locked, logins = tmp_path / "plain", tmp_path / "locked", []
    KEYS[0].write_private_key_file(str(plain))
    KEYS[0].write_private_key_file(str(locked), password="secret")
    monkeypatch.setattr(paramiko.SSHClient, "connect", lambda client, **options: logins.append(options))
    for names in ([str(plain)], [str(plain)], [str(locked)], [str(plain), str(locked)], None):
        machine_module.Client().connect(hostname="a", key_filename=names)
    first, second, *others = logins
    assert first["pkey"] == KEYS[0] and first["pkey"] is second["pkey"] and first["key_filename"] is None
    assert others == [{"hostname": "a", "key_filename": n} for n in ([str(locked)], [str(plain), str(locked)], None)]
