"""A slow line to a host: a proxy that delays what each side sends by half of a round trip."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bench.fleet.targets import ADDRESS

PIECE = 1 << 16
"""Bytes that are read at once."""


@contextmanager
def line(port: int, seconds: float) -> Iterator[int]:
    """Run a slow line to a port of this machine within this context.

    Args:
        port: port of the host.
        seconds: time of a round trip.

    Yields:
        The port to connect to instead.
    """
    ready: queue.Queue[tuple[int, Callable[[], object]]] = queue.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(ADDRESS, port)
        await asyncio.gather(_pass(reader, back, seconds / 2), _pass(there, writer, seconds / 2))

    async def run() -> None:
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        async with await asyncio.start_server(serve, ADDRESS, 0) as server:
            ready.put((server.sockets[0].getsockname()[1], lambda: loop.call_soon_threadsafe(end.set)))
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    own, end = ready.get(timeout=10)
    try:
        yield own
    finally:
        end()
        thread.join()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Write everything that is read, and then the end, each delayed by `seconds`."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):
        while piece := await reader.read(PIECE):
            loop.call_later(seconds, writer.write, piece)
    loop.call_later(seconds, writer.close)
