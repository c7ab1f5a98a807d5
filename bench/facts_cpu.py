"""What a look costs the machine that is looked at: at most 0.15 s of CPU where it is not emulated.

The machine is a throwaway container on the controller's own kernel, with all that a deploy installs and containerd
running. Where this kernel has no dm-thin there is no pool in it: the look then asks for one in vain.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import toml

from fabfile import facts
from fabfile.facts.query import Query
from fabfile.lab import kinds, mirror, tools
from fabfile.lab.vm import free_ports
from fabfile.paths import REPOSITORY
from fabfile.remote import target
from tests import container
from tests.container import Container

LIMIT = 0.15
ROUNDS = 21


def install(directory: Path, host: Container, key: Path) -> None:
    """Deploy everything except the pool, by fab."""
    known = directory / "known_hosts"
    known.write_text(f"[127.0.0.1]:{host.port} {host.host_key}\n")
    defaults = {"identity_file": str(key), "known_hosts": str(known), "release": "lab", "mirror": str(mirror.build())}
    hosts = {"bench": {"address": "127.0.0.1", "port": host.port}}
    inventory = directory / "hosts.toml"
    inventory.write_text(toml.dumps({"defaults": defaults, "hosts": hosts}))
    fab = [str(Path(sys.executable).with_name("fab")), "-H", "bench"]
    for task in ("packages", "containerd.install", "runc.install"):
        subprocess.run([*fab, task], cwd=REPOSITORY, env={**os.environ, "HOSTS_FILE": str(inventory)}, check=True)
    host.sh("systemd-run -q --unit=containerd -p Type=notify -p Delegate=yes /usr/local/bin/containerd")


def seconds(times: str) -> float:
    """Return the CPU seconds of child processes, from the output of the shell's `times`, `MmS.SSs` each."""
    pairs = [word.rstrip("s").split("m") for word in times.splitlines()[1].split()]
    return sum(60 * int(minutes) + float(rest) for minutes, rest in pairs)


def measure(host: Container) -> list[float]:
    """Return CPU seconds, one figure per round."""
    script = target.PROLOGUE + facts.script(Query(files=("/etc/containerd/config.toml",)))
    loop = f"cat >/run/look <<'LOOK'\n{script}\nLOOK\nsh /run/look >/dev/null; times"
    return [seconds("\n".join(host.sh(loop).splitlines()[-2:])) for _ in range(ROUNDS + 1)][1:]


def main() -> int:
    """Print the figures; the exit code is 1 if the limit is exceeded."""
    with tempfile.TemporaryDirectory() as name:
        directory, (port,) = Path(name), free_ports(1)
        key = directory / "key"
        tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", key)
        authorized = key.with_suffix(".pub").read_text().strip()
        with (
            container.here(kinds.choose("bookworm")[1], authorized) as site,
            site.container("bench", port, port) as host,
        ):
            install(directory, host, key)
            times = measure(host)
            host.sh("systemctl stop containerd")
    median = statistics.median(times)
    print(f"a look: median {median:.3f} s of CPU, {min(times):.3f} to {max(times):.3f} s, at most {LIMIT}")
    return 0 if median <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
