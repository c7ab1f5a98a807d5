"""Servers that are none of SSH, on this machine: one error of ours, and nothing of the library's on the terminal."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.machine import run_fab

ANSWERS = {
    "nothing": b"",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n",
    "garbage": bytes(range(256)) * 4,
    "turned away": b"Not allowed at this time\r\n",
    "too busy": b"Exceeded MaxStartups\r\n",
}


@pytest.fixture(params=ANSWERS.values(), ids=ANSWERS.keys())
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a server that sends something and closes the connection."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(request.param)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_server_that_does_not_speak_ssh_is_one_clear_error(port: int, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.toml"
    inventory.write_text(f'[hosts.odd]\naddress = "127.0.0.1"\nport = {port}\n')
    said = run_fab("-H", "odd", "status", code=4, inventory=inventory)
    assert f"error: odd (root@127.0.0.1:{port}): no connection" in said
    assert "Traceback" not in said and "Exception" not in said
