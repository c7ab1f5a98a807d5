"""Connections that OpenSSH keeps are as strict as our own, and nobody else's are used."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from fabfile.errors import Unreachable
from fabfile.remote import target
from tests.integration.local import multiplexed, sshd, test_connections
from tests.integration.local.connections import Connect

server, sockets, connect = multiplexed.server, multiplexed.sockets, multiplexed.connect
jump, stranger = test_connections.jump, test_connections.stranger


@pytest.mark.parametrize("kind", ["changed", "revoked", "unknown"])
def test_a_key_that_is_no_longer_known_ends_the_trust(
    server: sshd.Server, connect: Connect, tmp_path: Path, stranger: str, kind: str
) -> None:
    file, own = tmp_path / "known", (server.directory / "known").read_text()
    file.write_text(own)
    assert target.run(connect(known_hosts=str(file)), "echo in").stdout == "in\n"
    changed = f"[127.0.0.1]:{server.ports[0]} {stranger}\n"
    file.write_text({"changed": changed, "revoked": f"{own}@revoked {own}", "unknown": ""}[kind])
    before = multiplexed.logins(server)
    with pytest.raises(Unreachable, match=f"(is|has) {kind}"):
        target.run(connect(known_hosts=str(file)), "echo in")
    assert multiplexed.logins(server) == before
    file.write_text(own)
    assert (
        target.run(connect(known_hosts=str(file)), "echo in").stdout == "in\n" and multiplexed.logins(server) == before
    )


@pytest.mark.parametrize("kind", ["known", "unknown", "changed"])
def test_a_jump_host_is_verified_as_strictly(
    server: sshd.Server, connect: Connect, jump: tuple[sshd.Server, str], tmp_path: Path, stranger: str, kind: str
) -> None:
    through, rules = jump
    own = " ".join((through.directory / "host.pub").read_text().split()[:2])
    file = test_connections.known(server, through, tmp_path, {"known": own, "unknown": "", "changed": stranger}[kind])
    machine = connect(rules, known_hosts=file)
    if kind == "known":
        assert target.run(machine, "echo in").stdout == "in\n" and not machine.is_connected
        return
    with pytest.raises(Unreachable, match=r"on the way to h0: the host key (is unknown|has changed)"):
        target.run(machine, "echo in")
    assert "Accepted" not in through.log, "nothing was offered to it"


@pytest.mark.parametrize("kind", ["directory", "mode", "link", "file", "socket", "deaf", "strange", "killed"])
def test_a_socket_that_is_not_for_us_alone_is_not_used(
    connect: Connect, sockets: Path, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = connect().master.route.name
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    if kind == "link":
        sockets.symlink_to(tmp_path / "elsewhere")
    elif kind == "directory":
        sockets.touch()
    else:
        sockets.mkdir(mode=0o755 if kind == "mode" else 0o700)
    with socket.socket(socket.AF_UNIX) as listener, suppress(OSError):
        if kind in ("socket", "deaf", "strange"):
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            (tmp_path / "socket").chmod(0o666 if kind == "socket" else 0o600)
            (tmp_path / "socket").rename(sockets / name)
        if kind == "file":
            (sockets / name).touch(mode=0o600)
        if kind == "killed":
            (sockets / f"{name}.new").mkdir()
            os.utime(sockets / f"{name}.new", (0, 0))
        if kind == "strange":
            threading.Thread(target=lambda: listener.accept()[0].send(b"SSH-2.0-OpenSSH"), daemon=True).start()
        machine = connect()
        assert target.run(machine, "echo in").stdout == "in\n" and machine.is_connected
    says = {
        "directory": "File exists", "mode": "must belong to you and have mode 0700", "link": "Not a directory",
        "file": "must be a socket", "socket": "must be a socket", "deaf": "did not answer", "strange": "OpenSSH",
        "killed": "another run is starting it",
    }  # fmt: skip
    assert says[kind] in capsys.readouterr().err
    shutil.rmtree(sockets, ignore_errors=True)
    sockets.unlink(missing_ok=True)
