"""Serves disks to a User-mode Linux machine over vhost-user, the protocol of its virtio driver.

The driver connects to one socket per disk, and announces its shared memory and where the request queue is in it; see
vhost-user.rst of qemu's documentation, and section 2.7 of the virtio specification. One queue without options will do.

qemu has `qemu-storage-daemon` for this. But in Linux 7.2 the zero page is not in the shared memory, and that program
gives up a disk for good when it has to write this page. It also gives all disks the same serial number. Like
`uml_supervisor.py`, which runs this file, it uses only Python's standard library.
"""

from __future__ import annotations

import mmap
import os
import selectors
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabfile.lab.kinds.uml_block import Block

HEADER = struct.Struct("<III")
"""Header of a message: request, flags, size of the payload."""

REGION = struct.Struct("<QQQQ")
"""A region of shared memory: address in the machine, size, address in the driver, offset in the file."""

STATE = struct.Struct("<II")
"""State of a queue: its index, a value."""

ADDRESSES = struct.Struct("<IIQQQQ")
"""Addresses of a queue: its index, flags, and addresses of descriptors, used ring, available ring and log."""

SETTINGS = struct.Struct("<III")
"""Header of a part of the configuration: offset, size, flags."""

NUMBER = struct.Struct("<Q")

DESCRIPTOR = struct.Struct("<QIHH")
"""A buffer of a request: address, length, flags, index of the next buffer."""

USED = struct.Struct("<II")
"""A completed request: index of its first buffer, number of bytes written."""

NEXT, FOR_WRITING = 1, 2
"""Flags of a descriptor."""

VERSION, REPLY = 1, 4
"""Flags of a message."""

FEATURES = 1 << 32 | 1 << 30
"""Version 1 of virtio, and protocol features."""

PROTOCOL = 1 << 9 | 1 << 5
"""A configuration, and a channel for its changes: there are none, but without it Linux 6.1 has no interrupts."""

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEMORY = 1, 2, 3, 5
SET_SIZE, SET_ADDRESSES, SET_BASE, SET_KICK, SET_CALL = 8, 9, 10, 12, 13
GET_PROTOCOL, SET_PROTOCOL, SET_ENABLED, SET_REPORT, GET_CONFIG = 15, 16, 18, 21, 24
"""Types of messages."""

PEER = struct.Struct("iII")
"""`struct ucred`: process, user, group."""


class Memory:
    """The machine's memory.

    Args:
        regions: the shared regions, as in the message.
        files: descriptors of the regions, in the same order.
        process: id of the machine's process, which has the rest of the memory.
    """

    def __init__(self, regions: bytes, files: Sequence[int], process: int) -> None:
        self.shared: list[tuple[int, memoryview]] = []
        # The name, as some file systems have other inode numbers in /proc/PID/maps.
        self.process, self.file = process, str(Path(f"/proc/self/fd/{files[0]}").readlink())
        for number, file in enumerate(files):
            start, size, _, offset = REGION.unpack_from(regions, 8 + number * REGION.size)
            self.shared.append((start, memoryview(mmap.mmap(file, offset + size))[offset:]))
            os.close(file)

    def view(self, address: int, length: int) -> memoryview:
        """Return a range of shared memory.

        Raises:
            LookupError: the range is not shared.
        """
        for start, region in self.shared:
            if start <= address and address + length <= start + len(region):
                return region[address - start :][:length]
        raise LookupError(f"{length} bytes at {address:#x} are not shared")

    def read(self, address: int, length: int) -> memoryview:
        """Return a range of shared memory, or a copy if it is not shared, as the kernel's own variables.

        Raises:
            OSError: the process's memory may not be read.
        """
        try:
            return self.view(address, length)
        except LookupError:
            memory = os.open(f"/proc/{self.process}/mem", os.O_RDONLY)
            try:
                return memoryview(os.pread(memory, length, self._base + address))
            finally:
                os.close(memory)

    @cached_property
    def _base(self) -> int:
        """Address of the machine's address 0 in its process, from where the shared memory is mapped."""
        for line in Path(f"/proc/{self.process}/maps").read_text().splitlines():
            addresses, _, offset, _, _, *file = line.split(maxsplit=5)
            if file == [self.file]:
                return int(addresses.partition("-")[0], 16) - int(offset, 16)
        raise LookupError(f"process {self.process} does not map what it shares")


class Queue:
    """The requests of a machine to a disk."""

    memory: Memory

    def __init__(self, block: Block) -> None:
        self.block = block
        self.size = self.seen = 0
        self.call = -1

    def place(self, descriptors: int, used: int, available: int) -> None:
        """Set the addresses of its three parts; memory and size are known already."""
        self.descriptors = self.memory.view(descriptors, DESCRIPTOR.size * self.size)
        self.available = self.memory.view(available, 4 + 2 * self.size).cast("H")
        self.used = self.memory.view(used, 4 + USED.size * self.size)
        self.count = self.used[:4].cast("H")

    def serve(self) -> None:
        """Execute all pending requests and notify the machine, whether or not it asked for that."""
        while self.seen != self.available[1]:
            place = self.seen % self.size
            first = self.available[2 + place]
            written = self.block.answer(*self._parts(first))
            USED.pack_into(self.used, 4 + place * USED.size, first, written)
            self.count[1] = self.seen = (self.seen + 1) & 0xFFFF
        with suppress(
            BlockingIOError, BrokenPipeError
        ):  # an earlier notification is still unread, or the machine restarts
            os.write(self.call, NUMBER.pack(1))

    def _parts(self, number: int) -> tuple[list[memoryview], list[memoryview]]:
        """The buffers of a request, and those for its reply.

        Raises:
            LookupError: the chain has no end, or the reply does not belong into shared memory.
        """
        request, reply = [], []
        for _ in range(self.size):
            address, length, flags, following = DESCRIPTOR.unpack_from(self.descriptors, number * DESCRIPTOR.size)
            if flags & FOR_WRITING:
                reply.append(self.memory.view(address, length))
            else:
                request.append(self.memory.read(address, length))
            if not flags & NEXT:
                return request, reply
            number = following
        raise LookupError("a request has no end")


class Connection:
    """The connection of a machine's driver for one disk, from one start of the machine to the next.

    Args:
        link: socket of the driver.
        block: the disk.
        selector: calls what is registered with it when its file becomes readable.
    """

    def __init__(self, link: socket.socket, block: Block, selector: selectors.BaseSelector) -> None:
        self.link, self.block, self.selector = link, block, selector
        self.queue, self.kick, self.report = Queue(block), -1, -1
        self.process, _, _ = PEER.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
        selector.register(link, selectors.EVENT_READ, self.receive)

    def receive(self) -> None:
        """Receive and handle a message; a machine that ends or restarts may interrupt it."""
        try:
            connected = self._receive()
        except ConnectionError:
            connected = False
        if not connected:
            self._close()

    def _receive(self) -> bool:
        header, files, _, _ = socket.recv_fds(self.link, HEADER.size, 8)
        if not header:
            return False
        request, _, size = HEADER.unpack(header)
        payload = self.link.recv(size, socket.MSG_WAITALL) if size else b""
        reply = self._answer(request, payload, files)
        if reply:
            self.link.sendall(HEADER.pack(request, VERSION | REPLY, len(reply)) + reply)
        return True

    def _answer(self, request: int, payload: bytes, files: Sequence[int]) -> bytes:
        """Handle a message, and return the reply, if it has one.

        Raises:
            ValueError: the type of the message is unknown.
        """
        if request == GET_FEATURES:
            return NUMBER.pack(FEATURES | self.block.features)
        if request == GET_PROTOCOL:
            return NUMBER.pack(PROTOCOL)
        if request == GET_CONFIG:
            offset, size, _ = SETTINGS.unpack_from(payload)
            wanted = self.block.config[offset : offset + size].ljust(size, b"\0")
            return payload[: SETTINGS.size] + wanted
        if request == SET_MEMORY:
            self.queue.memory = Memory(payload, files, self.process)
        elif request == SET_SIZE:
            _, self.queue.size = STATE.unpack(payload)
        elif request == SET_BASE:
            _, self.queue.seen = STATE.unpack(payload)
        elif request == SET_ADDRESSES:
            _, _, descriptors, used, available, _ = ADDRESSES.unpack(payload)
            self.queue.place(descriptors, used, available)
        elif request == SET_CALL:
            (self.queue.call,) = files
            os.set_blocking(self.queue.call, False)
        elif request == SET_KICK:
            (self.kick,) = files
            self.selector.register(self.kick, selectors.EVENT_READ, self._kicked)
        elif request == SET_REPORT:
            (self.report,) = files
        elif request == SET_ENABLED:
            _, enabled = STATE.unpack(payload)
            if not enabled:
                self._stop()
        elif request not in (SET_OWNER, SET_FEATURES, SET_PROTOCOL):
            raise ValueError(f"message {request} is unknown")
        return b""

    def _kicked(self) -> None:
        os.eventfd_read(self.kick)
        self.queue.serve()

    def _stop(self) -> None:
        """Drop the queue, as the driver takes its memory back."""
        if self.kick >= 0:
            self.selector.unregister(self.kick)
            os.close(self.kick)
        if self.queue.call >= 0:
            os.close(self.queue.call)
        self.queue, self.kick = Queue(self.block), -1

    def _close(self) -> None:
        """Drop the connection of a machine that has ended, or is restarting."""
        self._stop()
        if self.report >= 0:
            os.close(self.report)
        self.selector.unregister(self.link)
        self.link.close()


class Server:
    """All disks of a machine.

    Args:
        blocks: path of a socket → disk.

    Raises:
        OSError: a socket could not be created.
    """

    def __init__(self, blocks: Mapping[str, Block]) -> None:
        self.selector = selectors.DefaultSelector()
        for path, block in blocks.items():
            Path(path).unlink(missing_ok=True)  # left from before a power cut
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(path)
            listening.listen()
            self.selector.register(listening, selectors.EVENT_READ, partial(self._accept, listening, block))

    def _accept(self, listening: socket.socket, block: Block) -> None:
        Connection(listening.accept()[0], block, self.selector)

    def step(self) -> None:
        """Wait for an event and handle it; only one, as it may close what another one belongs to."""
        for ready, _ in self.selector.select()[:1]:
            ready.data()

    def run(self) -> None:
        """Serve until the process ends."""
        while True:
            self.step()
