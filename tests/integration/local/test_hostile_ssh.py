"""Hosts that refuse us, or that stop answering somewhere: nothing stays open, and every wait has an end."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import paramiko
import pytest
from fabric import Config
from paramiko import SSHConfig
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED, cMSG_CHANNEL_SUCCESS

from fabfile import inventory
from fabfile.errors import Failed, Unreachable
from fabfile.remote import execution
from fabfile.ssh import channel, hostkeys, packets
from fabfile.ssh.connections import Connections
from tests.integration.local import sshd
from tests.integration.local.connections import Connect
from tests.integration.local.test_interruption import Run, steps
from tests.integration.machine import until


def sockets() -> set[str]:
    """The sockets that this process has open."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the directory itself
            found.add(str(each.readlink()))
    return {name for name in found if name.startswith("socket:")}


WHYS = {"unknown host key": "the host key is unknown", "login refused": "login refused"}


@pytest.mark.parametrize("why", WHYS)
def test_a_connection_that_fails_is_closed(connect: Connect, tmp_path: Path, why: str) -> None:
    file = tmp_path / "file"
    if why == "login refused":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    before, threads = sockets(), set(threading.enumerate())
    machine = connect(known_hosts=str(file)) if why == "unknown host key" else connect(identity_file=str(file))
    with pytest.raises(Unreachable, match=WHYS[why]):
        machine.open()
    assert sockets() == before
    until(lambda: set(threading.enumerate()) <= threads, "its thread goes on", 10)


def test_a_connection_that_only_reads_a_host_key_is_closed(server: sshd.Server) -> None:
    known = inventory.load(server.inventory(h0=0))
    before, threads = sockets(), set(threading.enumerate())
    with Connections(known, Config(ssh_config=SSHConfig.from_text(""))) as ways:
        assert hostkeys.read(ways, known.hosts["h0"], every=True).keys
        assert sockets() == before
    until(lambda: set(threading.enumerate()) <= threads, "its thread goes on", 10)


class Hostile(paramiko.Transport):
    """A server that lets everybody in and answers keepalive requests, also while it does nothing else.

    Args:
        client: the connection.
        window: how many bytes it takes of a script.
        key: its host key.
    """

    def __init__(self, client: socket.socket, window: int, key: paramiko.PKey) -> None:
        super().__init__(client, default_window_size=window)
        self.add_server_key(key)
        self.start_server(server=Open())

    def _send_user_message(self, data: paramiko.Message) -> None:
        if data.asbytes()[:1] == cMSG_CHANNEL_SUCCESS:
            self.answer_command(data)
        else:
            super()._send_user_message(data)  # type: ignore[misc]  # missing in Paramiko's type hints

    def answer_command(self, data: paramiko.Message) -> None:
        """Answer the request to run a command."""
        super()._send_user_message(data)  # type: ignore[misc]  # as above


class Mute(Hostile):
    """Does not answer the request to run a command."""

    asked = threading.Event()

    def answer_command(self, data: paramiko.Message) -> None:
        """Do not answer it."""
        self.asked.set()


class Deaf(Hostile):
    """Reads nothing any more once it runs a command."""

    over = threading.Event()

    def answer_command(self, data: paramiko.Message) -> None:
        """Answer it, in the thread that reads, and stop there."""
        super().answer_command(data)
        self.over.wait(60)


class Open(paramiko.ServerInterface):
    """Lets everybody do everything."""

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        return True


@contextmanager
def hostile(kind: type[Hostile], directory: Path, window: int = 1 << 15) -> Iterator[Path]:
    """The inventory of a host h0, which is such a server."""
    key, own, up = paramiko.ECDSAKey.generate(), directory / "id", list[Hostile]()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", own], check=True)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    (directory / "known").write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
    file = directory / "hosts.toml"
    file.write_text(
        f"[hosts.h0]\naddress = '127.0.0.1'\nport = {port}\nidentity_file = '{own}'\n"
        f"known_hosts = '{directory / 'known'}'\n"
    )

    def accept() -> None:
        with suppress(OSError):  # it is over
            while True:
                up.append(kind(listening.accept()[0], window, key))

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield file
    finally:
        Deaf.over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for each in up:
            each.close()
        Deaf.over.clear()


def run(file: Path, script: str, limit: float, data: list[bytes] | None = None) -> None:
    """Run a script on that host."""
    known = inventory.load(file)
    with Connections(known, Config(ssh_config=SSHConfig.from_text(""))) as ways, ways.to(known.hosts["h0"]) as machine:
        execution.script(machine, script, limit=limit, data=data)


def test_a_host_that_does_not_begin_a_script_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "STEP_LIMIT", 1)
    begin = monotonic()
    with hostile(Mute, tmp_path) as file, pytest.raises(Failed, match="h0 opens no session") as failed:
        run(file, "true", 60)
    assert failed.value.details == "the host did not answer within 1 s"
    assert monotonic() - begin < 10


def test_ctrl_c_does_not_wait_for_a_host_that_does_not_begin(tmp_path: Path) -> None:
    Mute.asked.clear()
    with hostile(Mute, tmp_path) as file:
        fab = Run(tmp_path, file, "fab", "-H", "h0", *steps(tmp_path))
        until(Mute.asked.is_set, "does not come so far", 20)
        fab.send(signal.SIGINT)
        fab.end(130, 10)


@pytest.mark.parametrize("window", [1 << 15, 1 << 30])
@pytest.mark.parametrize("data", [None, [b"x" * (1 << 22)] * 8])
def test_a_host_that_does_not_read_a_script_is_ended_in_time(
    tmp_path: Path, window: int, data: list[bytes] | None
) -> None:
    script = f": {'x' * 50_000}" if data is None else "true"
    begin = monotonic()
    with hostile(Hostile, tmp_path, window) as file, pytest.raises(Failed, match="it took longer than 2 s"):
        run(file, script, 2, data)
    assert monotonic() - begin < 20


def test_a_host_that_reads_nothing_any_more_counts_as_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "SILENCE", 1)
    begin = monotonic()
    with hostile(Deaf, tmp_path, 1 << 30) as file, pytest.raises(Failed, match="the connection was lost") as failed:
        run(file, "true", 50, [b"x" * (1 << 22)] * 8)
    assert packets.UNREAD in failed.value.details
    assert monotonic() - begin < 20
