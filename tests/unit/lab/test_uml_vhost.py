"""Disks of a User-mode Linux machine over vhost-user, with a driver that behaves like the kernel's."""

from __future__ import annotations

import mmap
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.lab.kinds import uml_vhost as vhost
from fabfile.lab.kinds.uml_block import READ, WRITE, Block
from fabfile.lab.kinds.uml_vhost import FOR_WRITING, GET_CONFIG, GET_FEATURES, NEXT, Connection, Server

SHARED, END = 32768, 65536
"""The shared part of the machine's memory; below it is the kernel's own."""

DESCRIPTORS, AVAILABLE, USED, HEADER, DATA, STATUS = (SHARED + 1024 * number for number in range(6))
"""Addresses of the driver's structures."""

SIZE = 8
"""Size of the queue."""


class Driver:
    """The kernel's side of a connection."""

    def __init__(self, server: Server, block: Block) -> None:
        self.server, self.tail = server, 0
        self.file = os.memfd_create("memory")
        os.truncate(self.file, END)
        self.memory = mmap.mmap(self.file, END)
        self.link, far = socket.socketpair()
        Connection(far, block, server.selector)
        self.kick, (self.called, self.call) = os.eventfd(0), os.pipe()
        self.say(vhost.SET_OWNER)
        self.say(vhost.SET_PROTOCOL, self.ask(vhost.GET_PROTOCOL))
        self.say(vhost.SET_REPORT, files=(self.call,))

    def say(self, request: int, payload: bytes = b"", files: tuple[int, ...] = ()) -> None:
        """Send a message."""
        message = struct.pack("<III", request, 1, len(payload)) + payload
        socket.send_fds(self.link, [message], files)
        self.server.step()

    def ask(self, request: int, payload: bytes = b"") -> bytes:
        """Send a message and return what comes back."""
        self.say(request, payload)
        number, flags, size = struct.unpack("<III", self.link.recv(12))
        assert (number, flags) == (request, 5)
        return self.link.recv(size)

    def begin(self, seen: int = 0) -> None:
        """Send everything that the kernel sends before the first request, which has the number `seen`."""
        self.tail = seen
        self.memory[AVAILABLE : AVAILABLE + 4] = self.memory[USED : USED + 4] = struct.pack("<HH", 0, seen)
        self.say(vhost.SET_FEATURES, self.ask(GET_FEATURES))
        self.say(vhost.SET_MEMORY, struct.pack("<IIQQQQ", 1, 0, SHARED, END - SHARED, SHARED, SHARED), (self.file,))
        self.say(vhost.SET_CALL, struct.pack("<Q", 0), (self.call,))
        self.say(vhost.SET_SIZE, struct.pack("<II", 0, SIZE))
        self.say(vhost.SET_BASE, struct.pack("<II", 0, seen))
        self.say(vhost.SET_ADDRESSES, struct.pack("<IIQQQQ", 0, 0, DESCRIPTORS, USED, AVAILABLE, (1 << 64) - 1))
        self.say(vhost.SET_KICK, struct.pack("<Q", 0), (self.kick,))
        self.say(vhost.SET_ENABLED, struct.pack("<II", 0, 1))

    def describe(self, *parts: tuple[int, int, int]) -> None:
        """Write the descriptors of a request with these parts: address, length, flags."""
        for number, (address, length, flags) in enumerate(parts):
            more = NEXT if number + 1 < len(parts) else 0
            described = struct.pack("<QIHH", address, length, flags | more, number + 1)
            self.memory[DESCRIPTORS + 16 * number : DESCRIPTORS + 16 * number + 16] = described

    def request(self, kind: int, sector: int, data: int = DATA, length: int = 512) -> int:
        """Submit a request, notify the disk, and return the result."""
        self.memory[HEADER : HEADER + 16] = struct.pack("<IIQ", kind, 0, sector)
        self.memory[STATUS] = 0xFF
        into = FOR_WRITING if kind == READ else 0
        self.describe((HEADER, 16, 0), (data, length, into), (STATUS, 1, FOR_WRITING))
        self.offer()
        assert struct.unpack("<Q", os.read(self.called, 8)) == (1,)
        assert self.memory[USED + 2 : USED + 4] == struct.pack("<H", self.tail)
        place = USED + 4 + (self.tail - 1) % SIZE * 8
        assert self.memory[place : place + 8] == struct.pack("<II", 0, 1 + (length if into else 0))
        return self.memory[STATUS]

    def offer(self) -> None:
        """Put the request into the queue, and notify the disk."""
        place = AVAILABLE + 4 + self.tail % SIZE * 2
        self.memory[place : place + 2] = struct.pack("<H", 0)
        self.tail = (self.tail + 1) & 0xFFFF
        self.memory[AVAILABLE + 2 : AVAILABLE + 4] = struct.pack("<H", self.tail)
        os.eventfd_write(self.kick, 1)
        self.server.step()

    def end(self) -> None:
        """Disconnect, as a machine that restarts does."""
        self.link.close()
        self.server.step()
        for descriptor in (self.file, self.kick, self.called, self.call):
            os.close(descriptor)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Block]:
    """A disk of 1 MiB."""
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    block = Block([str(tmp_path / "disk")], 1 << 20, "lab-disk2", 512, 512, False, True)
    yield block
    os.close(block.files[0])


@pytest.fixture
def server() -> Iterator[Server]:
    """A server to which machines connect without the path of a socket."""
    server = Server({})
    yield server
    server.selector.close()


@pytest.fixture
def driver(server: Server, disk: Block) -> Iterator[Driver]:
    """A driver that has just connected."""
    driver = Driver(server, disk)
    yield driver
    driver.end()


def test_the_configuration_describes_the_disk(driver: Driver, disk: Block) -> None:
    assert struct.unpack("<Q", driver.ask(GET_FEATURES)) == (vhost.FEATURES | disk.features,)
    part = struct.pack("<III", 20, 4, 0)
    assert driver.ask(GET_CONFIG, part + bytes(4)) == part + disk.config[20:24]
    all_of_it = struct.pack("<III", 0, 100, 0)
    assert driver.ask(GET_CONFIG, all_of_it + bytes(100)) == all_of_it + disk.config.ljust(100, b"\0")


def test_what_is_written_can_be_read_and_is_in_the_file(driver: Driver, tmp_path: Path) -> None:
    driver.begin()
    driver.memory[DATA : DATA + 512] = b"w" * 512
    assert driver.request(WRITE, 3) == 0
    driver.memory[DATA : DATA + 512] = bytes(512)
    assert driver.request(READ, 3) == 0
    assert driver.memory[DATA : DATA + 512] == b"w" * 512
    assert (tmp_path / "disk").read_bytes() == bytes(1536) + b"w" * 512 + bytes((1 << 20) - 2048)


def test_the_queue_wraps_around_and_so_do_its_counters(driver: Driver) -> None:
    driver.begin(seen=65530)
    for number in range(3 * SIZE):
        driver.memory[DATA : DATA + 512] = bytes([number]) * 512
        assert driver.request(WRITE, number) == 0
    for number in range(3 * SIZE):
        assert driver.request(READ, number) == 0
        assert driver.memory[DATA : DATA + 512] == bytes([number]) * 512


def test_requests_that_came_together_are_all_answered(driver: Driver) -> None:
    driver.begin()
    driver.memory[HEADER : HEADER + 16] = struct.pack("<IIQ", READ, 0, 0)
    driver.describe((HEADER, 16, 0), (DATA, 512, FOR_WRITING), (STATUS, 1, FOR_WRITING))
    driver.tail = 4
    driver.offer()
    assert driver.memory[USED + 2 : USED + 4] == struct.pack("<H", 5)
    assert os.read(driver.called, 100) == struct.pack("<Q", 1), "told once"


def test_memory_that_is_not_shared_is_written_to_the_disk_too(driver: Driver, tmp_path: Path) -> None:
    """The kernel's zero page is such memory in Linux 7.2."""
    driver.begin()
    driver.memory[4096:4608] = b"u" * 512
    assert driver.request(WRITE, 1, data=4096) == 0
    assert (tmp_path / "disk").read_bytes()[512:1024] == b"u" * 512


def test_a_machine_whose_memory_may_not_be_read_is_stopped_with_the_reason(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    driver.begin()
    # No longer than that: pytest removes directories with it.
    with monkeypatch.context() as patch, pytest.raises(PermissionError, match=r"/proc/\d+/mem"):
        patch.setattr("fabfile.lab.kinds.uml_vhost.os.open", forbidden)
        driver.request(WRITE, 1, data=4096)


def test_nothing_is_written_where_memory_is_not_shared(driver: Driver) -> None:
    driver.begin()
    with pytest.raises(LookupError, match="512 bytes at 0x1000 are not shared"):
        driver.request(READ, 1, data=4096)
    with pytest.raises(LookupError, match="not shared"):
        driver.request(READ, 1, data=END - 100)


def test_a_request_without_an_end_is_an_error(driver: Driver) -> None:
    driver.begin()
    driver.describe(*[(HEADER, 16, NEXT)] * SIZE)
    driver.memory[DESCRIPTORS + 16 * SIZE - 2 : DESCRIPTORS + 16 * SIZE] = struct.pack("<H", 0)
    with pytest.raises(LookupError, match="has no end"):
        driver.offer()


def test_a_message_that_is_unknown_is_an_error(driver: Driver) -> None:
    with pytest.raises(ValueError, match="message 77 is unknown"):
        driver.say(77)


def test_a_machine_that_does_not_listen_does_not_stop_its_disk(driver: Driver) -> None:
    driver.begin()
    driver.memory[HEADER : HEADER + 16] = struct.pack("<IIQ", READ, 0, 0)
    driver.describe((HEADER, 16, 0), (DATA, 512, FOR_WRITING), (STATUS, 1, FOR_WRITING))
    for _ in range(65536 // 8 + 10):  # more than a pipe holds
        driver.offer()
    assert driver.memory[USED + 2 : USED + 4] == struct.pack("<H", driver.tail)


def test_a_restart_before_a_notification_does_not_stop_the_disk(driver: Driver) -> None:
    driver.begin()
    driver.memory[HEADER : HEADER + 16] = struct.pack("<IIQ", READ, 0, 0)
    driver.describe((HEADER, 16, 0), (DATA, 512, FOR_WRITING), (STATUS, 1, FOR_WRITING))
    empty, unused = os.pipe()
    os.dup2(empty, driver.called)  # nobody can read what it is told any more
    for descriptor in (empty, unused):
        os.close(descriptor)
    driver.offer()
    assert driver.memory[USED + 2 : USED + 4] == struct.pack("<H", 1)


def test_a_machine_that_disconnects_before_reading_a_reply_is_dropped(server: Server, disk: Block) -> None:
    driver = Driver(server, disk)
    driver.say(GET_FEATURES)
    driver.end()
    assert not server.selector.get_map()
    driver = Driver(server, disk)
    driver.link.send(struct.pack("<III", GET_FEATURES, 1, 0))
    driver.end()
    assert not server.selector.get_map()


def test_a_machine_that_starts_again_finds_its_disk(server: Server, disk: Block) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    for number in range(3):
        driver = Driver(server, disk)
        driver.begin()
        if number:
            assert driver.request(READ, 0) == 0
            assert driver.memory[DATA : DATA + 512] == bytes([number]) * 512
        driver.memory[DATA : DATA + 512] = bytes([number + 1]) * 512
        assert driver.request(WRITE, 0) == 0
        driver.end()
        driver.memory.close()
    assert not server.selector.get_map()
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_driver_may_disable_a_queue_and_enable_it_again(driver: Driver, server: Server) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    for number in range(3):
        driver.begin()
        assert driver.request(READ, number) == 0
        driver.say(vhost.SET_ENABLED, struct.pack("<II", 0, 0))
        assert len(server.selector.get_map()) == 1
    assert len([*Path("/proc/self/fd").iterdir()]) == before
