"""Brings disks to a User-mode Linux machine by vhost-user, the protocol of its virtio driver.

The driver connects to a socket for each disk, and names the memory that it shares and where in it the queue of requests
is; see vhost-user.rst in qemu's documentation, and 2.7 of the virtio specification. This is as much of it as User-mode
Linux needs: one queue, without any options.

qemu has a program for this, `qemu-storage-daemon`. But in Linux 7.2 the page of zeros is not in the memory that
User-mode Linux shares, and the program gives up a disk for good when it has to write this page: wherever the kernel
fills a range with zeros and cannot ask the disk to do it. It also gives all of its disks the same serial number.

It uses only Python's standard library, as `uml_supervisor.py` does, which runs it.
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
"""Begins a message: request, flags, size of what follows."""

REGION = struct.Struct("<QQQQ")
"""A part of the shared memory: its address in the machine, size, address in the driver, offset in the file."""

STATE = struct.Struct("<II")
"""Of a queue: its index, a value."""

ADDRESSES = struct.Struct("<IIQQQQ")
"""Of a queue: its index, flags, and where its descriptors, used ring, available ring and log are."""

SETTINGS = struct.Struct("<III")
"""Begins a part of the configuration: offset, size, flags."""

NUMBER = struct.Struct("<Q")

DESCRIPTOR = struct.Struct("<QIHH")
"""A part of a request: address, length, flags, index of the next part."""

USED = struct.Struct("<II")
"""A request that was answered: index of its first part, bytes written."""

NEXT, FOR_WRITING = 1, 2
"""Flags of a descriptor."""

VERSION, REPLY = 1, 4
"""Flags of a message."""

FEATURES = 1 << 32 | 1 << 30
"""Version 1 of virtio, and features of the protocol."""

PROTOCOL = 1 << 9 | 1 << 5
"""A configuration, and a way to report its change: nothing changes, but without it Linux 6.1 has no interrupts."""

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEMORY = 1, 2, 3, 5
SET_SIZE, SET_ADDRESSES, SET_BASE, SET_KICK, SET_CALL = 8, 9, 10, 12, 13
GET_PROTOCOL, SET_PROTOCOL, SET_ENABLED, SET_REPORT, GET_CONFIG = 15, 16, 18, 21, 24
"""Requests of messages."""

PEER = struct.Struct("iII")
"""`struct ucred`: process, user, group."""


class Memory:
    """The machine's memory.

    Args:
        regions: what it shares, as the message has it.
        files: of the regions, in the same order.
        process: the machine's process, in which the rest of its memory is.
    """

    def __init__(self, regions: bytes, files: Sequence[int], process: int) -> None:
        self.shared: list[tuple[int, memoryview]] = []
        # By its name, as for some file systems the number of the inode is not the same in the list of what is mapped.
        self.process, self.file = process, str(Path(f"/proc/self/fd/{files[0]}").readlink())
        for number, file in enumerate(files):
            start, size, _, offset = REGION.unpack_from(regions, 8 + number * REGION.size)
            self.shared.append((start, memoryview(mmap.mmap(file, offset + size))[offset:]))
            os.close(file)

    def view(self, address: int, length: int) -> memoryview:
        """A part that it shares.

        Raises:
            LookupError: it does not share this.
        """
        for start, region in self.shared:
            if start <= address and address + length <= start + len(region):
                return region[address - start :][:length]
        raise LookupError(f"{length} bytes at {address:#x} are not shared")

    def read(self, address: int, length: int) -> memoryview:
        """A part that it shares, or a copy of one that it does not: of the kernel's own variables.

        Raises:
            OSError: its process may not be looked into.
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
        """Where the machine's address 0 is in its process: as far below what it shares as in the machine."""
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
        """Say where in the memory its three parts are; the memory and the size are known by then."""
        self.descriptors = self.memory.view(descriptors, DESCRIPTOR.size * self.size)
        self.available = self.memory.view(available, 4 + 2 * self.size).cast("H")
        self.used = self.memory.view(used, 4 + USED.size * self.size)
        self.count = self.used[:4].cast("H")

    def serve(self) -> None:
        """Answer all requests that wait and tell the machine, whether or not it wants to know."""
        while self.seen != self.available[1]:
            place = self.seen % self.size
            first = self.available[2 + place]
            written = self.block.answer(*self._parts(first))
            USED.pack_into(self.used, 4 + place * USED.size, first, written)
            self.count[1] = self.seen = (self.seen + 1) & 0xFFFF
        with suppress(BlockingIOError, BrokenPipeError):  # it has not yet read what it was told before, or starts again
            os.write(self.call, NUMBER.pack(1))

    def _parts(self, number: int) -> tuple[list[memoryview], list[memoryview]]:
        """A request, and the room for its reply.

        Raises:
            LookupError: it has no end, or its reply belongs where the machine does not share its memory.
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
    """A machine's driver for one disk, from one start of the machine to the next.

    Args:
        link: to the driver.
        block: the disk.
        selector: calls what is registered with it when its file can be read.
    """

    def __init__(self, link: socket.socket, block: Block, selector: selectors.BaseSelector) -> None:
        self.link, self.block, self.selector = link, block, selector
        self.queue, self.kick, self.report = Queue(block), -1, -1
        self.process, _, _ = PEER.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
        selector.register(link, selectors.EVENT_READ, self.receive)

    def receive(self) -> None:
        """Receive a message and answer it; a machine that ends or starts again may do so in the middle of it."""
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
        """Do what a message says and return the reply, if it has one.

        Raises:
            ValueError: an unknown message.
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
        """Forget the queue: the driver takes its memory back."""
        if self.kick >= 0:
            self.selector.unregister(self.kick)
            os.close(self.kick)
        if self.queue.call >= 0:
            os.close(self.queue.call)
        self.queue, self.kick = Queue(self.block), -1

    def _close(self) -> None:
        """Forget the machine: it has ended, or starts again."""
        self._stop()
        if self.report >= 0:
            os.close(self.report)
        self.selector.unregister(self.link)
        self.link.close()


class Server:
    """All disks of a machine.

    Args:
        blocks: path of a socket → the disk behind it.

    Raises:
        OSError: a socket could not be made.
    """

    def __init__(self, blocks: Mapping[str, Block]) -> None:
        self.selector = selectors.DefaultSelector()
        for path, block in blocks.items():
            Path(path).unlink(missing_ok=True)  # of the time before a power cut
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(path)
            listening.listen()
            self.selector.register(listening, selectors.EVENT_READ, partial(self._accept, listening, block))

    def _accept(self, listening: socket.socket, block: Block) -> None:
        Connection(listening.accept()[0], block, self.selector)

    def step(self) -> None:
        """Wait until there is something to do, and do one thing: it may close what another belongs to."""
        for ready, _ in self.selector.select()[:1]:
            ready.data()

    def run(self) -> None:
        """Serve until the process ends."""
        while True:
            self.step()
