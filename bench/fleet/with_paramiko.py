"""Run `true` on many ports of this machine with Paramiko. Arguments: key, file of host keys, how many at once, ports.

It uses Paramiko as its documentation says: one SSHClient per host, and the file of host keys read once.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import paramiko

key, known, at_once, ports = sys.argv[1:]
keys = paramiko.HostKeys(known)


def true(port: str) -> int:
    """Return the exit code of `true` on a host."""
    with paramiko.SSHClient() as client:
        client.get_host_keys().update(keys)
        client.connect("127.0.0.1", int(port), "root", key_filename=key, look_for_keys=False, allow_agent=False)
        return client.exec_command("true")[1].channel.recv_exit_status()


with ThreadPoolExecutor(int(at_once)) as threads:
    codes = list(threads.map(true, ports.split(",")))
assert codes == [0] * len(codes), codes
