"""A slow line to a host: a proxy that passes on what each side sends after half of the time of a round trip."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
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
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(ADDRESS, port)
        await asyncio.gather(_pass(reader, back, seconds / 2), _pass(there, writer, seconds / 2))

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(serve, ADDRESS, 0)

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Write everything that is read, each piece as late as the line is slow, and then the end."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):
        while piece := await reader.read(PIECE):
            loop.call_later(seconds, writer.write, piece)
    loop.call_later(seconds, writer.close)
