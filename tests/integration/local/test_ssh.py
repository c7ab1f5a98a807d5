"""Servers that are none of SSH, on this machine: one error of ours, and nothing of the library's on the terminal."""

from __future__ import annotations

import socketserver
import threading
from pathlib import Path

import pytest

from tests.integration.machine import run_fab

ANSWERS = {
    "nothing": (b"", "it closes the connection, 6 times", 6),
    "HTTP": (
        b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n",
        "this is not SSH: it says 'HTTP/1.1 400 Bad Request'",
        1,
    ),
    "garbage": (bytes(range(11, 256)) * 4 + b"\r\n", "this is not SSH: ", 1),
    "turned away": (b"Not allowed at this time\r\n", "it says 'Not allowed at this time' and closes", 6),
    "too busy": (b"Exceeded MaxStartups\r\n", "it says 'Exceeded MaxStartups' and closes", 6),
}
"""What a server sends before it closes the connection, what is said of that, and how often it is asked."""


@pytest.mark.parametrize(("answer", "what", "times"), ANSWERS.values(), ids=ANSWERS.keys())
def test_a_server_that_does_not_speak_ssh_is_one_clear_error(
    answer: bytes, what: str, times: int, tmp_path: Path
) -> None:
    asked = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.client_address)
            self.request.sendall(answer)

    inventory = tmp_path / "hosts.toml"
    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        inventory.write_text(f'[hosts.odd]\naddress = "127.0.0.1"\nport = {port}\n')
        said = run_fab("-H", "odd", "status", code=4, inventory=inventory)
        server.shutdown()
        thread.join()
    assert f"error: odd (root@127.0.0.1:{port}): cannot connect" in said
    assert what in said and len(asked) == times
    assert "Traceback" not in said and "Exception" not in said
