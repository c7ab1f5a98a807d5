"""Downloads from servers that lie, never finish, send too much or redirect wrongly: one clear error, nothing kept."""

from __future__ import annotations

import hashlib
import socket
import ssl
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile import paths
from fabfile.artefacts import download, releases, web
from fabfile.artefacts.releases import Artefact
from fabfile.errors import Failed, Problem

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
SHA256 = hashlib.sha256(b"good").hexdigest()

Answer = Callable[[socket.socket, str, Event], None]
"""A function that gets the text of a request and answers it until it is told to stop."""


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """The address (host:port) of a server that answers every connection with this function."""
    listening, over = socket.create_server(("127.0.0.1", 0)), Event()

    def serve(client: socket.socket) -> None:
        with client:
            try:
                answer(client, client.recv(65536).decode("latin-1"), over)
            except OSError:
                return  # it hung up

    def accept() -> None:
        while True:
            try:
                client = listening.accept()[0]
            except OSError:
                return
            Thread(target=serve, args=(client,), daemon=True).start()

    Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def says(content: bytes) -> Answer:
    return lambda client, _, __: client.sendall(content)


def drips(start: bytes, piece: bytes, pause: float) -> Answer:
    """An answer with this beginning, followed by the same piece for ever."""

    def answer(client: socket.socket, _: str, over: Event) -> None:
        client.sendall(start)
        while not over.wait(pause):
            client.sendall(piece)

    return answer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and home, and short timeouts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setattr(web, "TIMEOUT", 1)
    return paths.cache()


def fetch(url: str) -> str:
    """The message about the file at an address."""
    start = monotonic()
    with pytest.raises(Failed) as caught:
        Artefact("runc", "1", url, SHA256, "runc").path()
    assert monotonic() - start < 15
    assert [path.name for path in paths.cache().rglob("*") if path.is_file()] == [".runc.lock"]
    return str(caught.value)


@pytest.mark.parametrize(
    "length", ["abc", "-5", "1e3", "4, 4", "\u0664".encode().decode("latin-1"), "4\r\nContent-Length: 5", "9" * 30]
)
def test_an_invalid_content_length_fails(length: str) -> None:
    with server(says(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\ngood".encode("latin-1"))) as host:
        assert "announces a length that is no number" in fetch(f"http://{host}/runc")


def test_a_file_that_is_too_large_is_given_up_before_its_first_byte() -> None:
    with server(drips(b"HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n", b"", 1)) as host:
        assert "is too large\n  2147483648 bytes, at most 1073741824" in fetch(f"http://{host}/runc")


@pytest.mark.parametrize("length", [3, 5])
def test_a_file_of_another_size_is_given_up_before_its_first_byte(
    length: int, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = drips(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode(), b"", 1)
    with server(answer) as host, pytest.raises(Failed, match=r"wrong size|too large"):
        Artefact("runc", "1", f"http://{host}/runc", SHA256, "runc", 4).path()
    assert "downloading" not in capsys.readouterr().out


def test_an_endless_file_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LARGEST", 4 << 20)
    with server(drips(b"HTTP/1.1 200 OK\r\n\r\n", bytes(1 << 20), 0)) as host:
        assert "is too large\n  more than 4194304 bytes came" in fetch(f"http://{host}/runc")


@pytest.mark.parametrize(
    "answer",
    [
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", b"x", 0.2),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.2),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n", 0.01),
        drips(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.2),
        drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0),
        drips(b"HTTP", b"", 1),
    ],
    ids=["body", "chunks", "trailers", "headers", "continue", "silence"],
)
def test_a_server_that_is_too_slow_is_given_up(answer: Answer) -> None:
    with server(answer) as host:
        assert "timed out" in fetch(f"http://{host}/runc")


def test_an_endless_tls_handshake_is_given_up() -> None:
    with server(drips(b"\x16\x03\x03\x40\x00", b"\x02", 0.2)) as host:
        assert "timed out" in fetch(f"https://{host}/runc")


def test_a_download_has_a_limit_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "WHOLE", 1.5)
    with server(drips(b"HTTP/1.1 200 OK\r\n\r\n", bytes(100_000), 0.1)) as host:
        assert "it took longer than 1.5 s" in fetch(f"http://{host}/runc")


def redirect(to: str, more: bytes = b"") -> Answer:
    def answer(client: socket.socket, request: str, over: Event) -> None:
        if "/good" in request:
            client.sendall(GOOD)
            return
        client.sendall(f"HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n".encode())
        while more and not over.is_set():
            client.sendall(more)

    return answer


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,good", "gopher://127.0.0.1/"])
def test_a_redirect_to_another_protocol_fails(to: str) -> None:
    with server(redirect(to)) as host:
        message = fetch(f"http://{host}/runc")
    # urllib refuses some of them itself
    assert "leads to a weaker or another protocol" in message or f"to url '{to}' is not allowed" in message


def test_a_redirect_from_https_to_http_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in (GOOD, f"HTTP/1.1 302 Found\r\nLocation: http://{plain}/good\r\n\r\n".encode()):
            with context.wrap_socket(listening.accept()[0], server_side=True) as client:
                client.recv(65536)
                client.sendall(answer)

    with listening, server(says(GOOD)) as plain:
        Thread(target=serve, daemon=True).start()
        address = f"https://127.0.0.1:{listening.getsockname()[1]}/runc"
        assert b"".join(web.blocks(address, 1000)) == b"good"
        assert f"leads to a weaker or another protocol: 'http://{plain}/good'" in fetch(address)


def self_signed(directory: Path) -> Path:
    """A file with a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = directory / "certificate.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return file


def test_a_redirect_is_followed_and_its_own_content_not_read() -> None:
    with server(redirect("/good", bytes(1 << 20))) as host:
        assert Artefact("runc", "1", f"http://{host}/runc", SHA256, "runc").path().read_bytes() == b"good"


def test_a_redirect_loop_fails() -> None:
    with server(redirect("/runc")) as host:
        assert "infinite loop" in fetch(f"http://{host}/runc")


def test_a_password_reaches_its_server_and_no_other_and_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    requests: list[str] = []

    def other(client: socket.socket, request: str, _: Event) -> None:
        requests.append(request)
        client.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")

    def own(client: socket.socket, request: str, _: Event) -> None:
        requests.append(request)
        to = f"http://{elsewhere}/runc" if "/second" in request else "/second"
        client.sendall(f"HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n".encode())

    with server(other) as elsewhere, server(own) as host:
        base = releases.base_url(f"http://user:SECRET@{host}/files")
        message = fetch(f"{base}/runc")
    assert ["Authorization: Basic dXNlcjpTRUNSRVQ=" in request for request in requests] == [True, True, False]
    out = capsys.readouterr()
    assert "SECRET" not in message + out.out + out.err


def test_the_password_of_netrc_is_used_and_a_refusal_says_how(tmp_path: Path) -> None:
    def answer(client: socket.socket, request: str, _: Event) -> None:
        known = "Authorization: Basic dXNlcjpTRUNSRVQ=" in request
        client.sendall(GOOD if known else b"HTTP/1.1 401 Unauthorized\r\n\r\n")

    with server(answer) as host:
        wanted = Artefact("runc", "1", f"http://{host}/runc", SHA256, "runc")
        assert "hint: name user and password in ~/.netrc" in fetch(wanted.url)
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password SECRET\n")
        (tmp_path / ".netrc").chmod(0o600)
        assert wanted.path().read_bytes() == b"good"


def test_a_redirect_does_not_choose_where_the_password_of_netrc_goes(tmp_path: Path) -> None:
    requests: list[str] = []

    def other(client: socket.socket, request: str, _: Event) -> None:
        requests.append(request)
        client.sendall(GOOD)

    (tmp_path / ".netrc").write_text("machine localhost login user password SECRET\n")
    (tmp_path / ".netrc").chmod(0o600)
    with server(other) as elsewhere, server(redirect(f"http://{elsewhere.replace('127.0.0.1', 'localhost')}/")) as host:
        assert Artefact("runc", "1", f"http://{host}/runc", SHA256, "runc").path().read_bytes() == b"good"
    assert len(requests) == 1 and "Host: localhost" in requests[0]
    assert "Authorization" not in requests[0]


def test_an_endless_table_is_given_up_in_bounded_memory() -> None:
    with server(drips(b"HTTP/1.1 200 OK\r\n\r\n", b"#" * (1 << 20), 0)) as host:
        tracemalloc.start()
        with pytest.raises(Failed, match="is too large"):
            releases.load("lab", "amd64", f"http://{host}")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 64 << 20


def test_a_fifo_or_device_instead_of_a_file_fails(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in fetch((tmp_path / "fifo").as_uri())
    assert "not a regular file" in fetch("file:///dev/zero")


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200\r\n", b"HTTP/9 x\r\n", b"HTTP/1.1 302 Found\r\n", b"Content-Length: ",
        b"Transfer-Encoding: chunked\r\n", b"Location: ", b"Location: http://[\r\n", b"4", b"-1", b"\r\n", b"\r\n\r\n",
        b"good", b"fffffffff\r\n", b"\x00\xff", b"Content-Encoding: gzip\r\n", b": ", b"\x1b[2J",
    ]
)  # fmt: skip


def test_any_answer_is_content_or_one_error() -> None:
    answers: list[bytes] = [b""]

    with server(lambda client, _, __: client.sendall(answers[0])) as host:

        @settings(max_examples=60, deadline=30_000)
        @given(st.lists(PIECES | st.binary(max_size=20), max_size=8).map(b"".join))
        def check(answer: bytes) -> None:
            answers[0] = answer
            try:
                assert len(b"".join(web.blocks(f"http://{host}/x", 1000))) <= 1000
            except Problem as problem:
                assert len(str(problem)) < 2000

        check()
