"""Run `true` on many ports of this machine with parallel-ssh. Arguments: key, how many at once, ports.

It runs in the peers' own environment.
"""

import sys

from pssh.clients import ParallelSSHClient
from pssh.config import HostConfig

key, at_once, ports = sys.argv[1:]
hosts = [HostConfig(port=int(port)) for port in ports.split(",")]
client = ParallelSSHClient(
    ["127.0.0.1"] * len(hosts), user="root", pkey=key, host_config=hosts, pool_size=int(at_once), allow_agent=False
)
output = client.run_command("true")
client.join(output)
codes = [host.exit_code for host in output]
assert codes == [0] * len(hosts), codes
