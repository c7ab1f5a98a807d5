"""Run `true` on many ports of this machine with asyncssh. Arguments: key, file of host keys, how many at once, ports.

It runs in the peers' own environment.
"""

import asyncio
import sys

import asyncssh

key, known, at_once, ports = sys.argv[1:]


async def true(port: int, free: asyncio.Semaphore) -> object:
    """Return the exit code of `true` on a host."""
    options = {"client_keys": [key], "known_hosts": known, "config": None, "agent_path": None}
    async with free, asyncssh.connect("127.0.0.1", port, username="root", **options) as host:
        return (await host.run("true")).exit_status


async def main() -> list[object]:
    """Return the exit codes of all hosts."""
    free = asyncio.Semaphore(int(at_once))
    return await asyncio.gather(*(true(int(port), free) for port in ports.split(",")))


codes = asyncio.run(main())
assert codes == [0] * len(codes), codes
