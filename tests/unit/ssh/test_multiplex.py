"""OpenSSH's multiplexing protocol: what is sent, and that nothing else than its answer opens a session."""

from __future__ import annotations

import socket
import struct
import threading
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.ssh.multiplex import (
    EXITED,
    FAILURE,
    HELLO,
    MOST,
    NEW_SESSION,
    OPENED,
    VERSION,
    Unusable,
    expect,
    greet,
    message,
)


def received(data: bytes, kind: int = OPENED, count: int = 2) -> tuple[int, ...]:
    """What is made of bytes from a socket that ends after them."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(data)
        return expect(ours, kind, count, 10)


def test_a_message_is_as_the_protocol_has_it() -> None:
    assert message(HELLO, 4) == bytes.fromhex("00000008 00000001 00000004")
    assert message(NEW_SESSION, 0, b"", b"ls") == bytes.fromhex("00000012 10000002 00000000 00000000 00000002 6c73")


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=100))
def test_numbers_come_back(first: int, second: int, rest: bytes) -> None:
    assert received(message(EXITED, first, second, rest), EXITED) == (first, second)


@given(st.binary(max_size=200))
def test_garbage_is_one_error(data: bytes) -> None:
    if data[4:8] != struct.pack(">I", OPENED):
        with pytest.raises(Unusable):
            received(data)


@given(st.binary(max_size=40), st.integers(0, 60))
def test_a_message_that_is_cut_off_is_an_error(rest: bytes, length: int) -> None:
    whole = message(OPENED, 1, 2, rest)
    if length < len(whole):
        with pytest.raises(Unusable):
            received(whole[:length])


@given(st.binary(max_size=5000))
def test_a_refusal_is_cut_short(reason: bytes) -> None:
    with pytest.raises(Unusable, match="it refuses: ") as unusable:
        received(message(FAILURE, 0, reason))
    assert len(str(unusable.value)) < 250


def test_a_message_that_is_too_long_is_not_waited_for() -> None:
    with pytest.raises(Unusable, match="does not speak OpenSSH's protocol"):
        received(struct.pack(">I", MOST + 1))


def test_a_socket_that_says_nothing_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(Unusable, match="did not answer"):
        expect(ours, HELLO, 1, 0.05)


def test_a_socket_that_says_little_at_a_time_has_no_more_time() -> None:
    ours, theirs = socket.socketpair()
    end = threading.Event()

    def drip() -> None:
        while not end.wait(0.05):
            theirs.send(b"\0")

    thread = threading.Thread(target=drip)
    thread.start()
    begin = monotonic()
    with ours, pytest.raises(Unusable):
        expect(ours, HELLO, 1, 0.3)
    end.set()
    thread.join()
    theirs.close()
    assert monotonic() - begin < 10


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_another_version_is_not_spoken_to(version: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(message(HELLO, version))
        with pytest.raises(Unusable, match=f"version {version}"):
            greet(ours)
        ours.close()
        assert theirs.recv(100) == b""


def test_what_a_new_version_adds_is_skipped() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(message(HELLO, VERSION, b"extension", b"value"))
        greet(ours)
        assert theirs.recv(100) == message(HELLO, VERSION)
