"""What the steps before the pool leave on a host: directories and links of containerd and runc; programs do nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from fabfile.facts.system import ARCHITECTURES
from fabfile.host import Host
from fabfile.steps import containerd, runc


class Installed(NamedTuple):
    """Paths on a host."""

    directories: list[str]
    links: dict[str, str]
    """Path of a link → its target."""


def wanted() -> Installed:
    """Return what a host with the default settings has after `fab containerd.install runc.install`."""
    host = Host()
    build = containerd.built(host, ARCHITECTURES[os.uname().machine])
    links = {f"{host.bin_dir}/{name}": f"/opt/containerd/current/bin/{name}" for name in build.programs}
    links |= {runc.LINK: "/opt/runc/current/bin/runc"}
    keys = {"containerd": build.key, "runc": build.release.runc.key}
    links |= {f"/opt/{name}/current": key for name, key in keys.items()}
    return Installed([f"/opt/{name}/{key}" for name, key in keys.items()], links)


def place(usr: Path) -> str:
    """Make the links below /usr, and return commands that make the rest in a host's own /opt.

    Args:
        usr: directory that is laid over the host's /usr, which is read-only.
    """
    directories, links = wanted()
    commands = ["mount -t tmpfs -o mode=0755 none /opt", *(f"mkdir -p {path}/bin" for path in directories)]
    commands += [f"ln -s {target} {path}" for path, target in links.items() if path.startswith("/opt/")]
    for path, target in links.items():
        if path.startswith("/usr/"):
            commands.append(f"ln -s /bin/true {target}")
            link = usr / Path(path).relative_to("/usr")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
    return "; ".join(commands)
