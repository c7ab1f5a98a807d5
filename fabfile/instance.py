"""One containerd of a machine: the default one, or an instance beside it. What must never be shared is derived here."""

from __future__ import annotations

import re
import shlex

import msgspec

from fabfile.errors import Refused

DEFAULT = "default"
"""How to ask for the containerd that a plain `ctr` talks to, where the inventory names another instance."""

OURS = "# Written by containerd-devmapper"
"""How every unit of ours begins."""

TAKEN = {
    "config": "/etc/containerd/config.toml is the default containerd's",
    "devmapper": "/var/lib/containerd-devmapper is where this tool keeps its own records",
}


class Daemon(msgspec.Struct, frozen=True):
    """The paths of one containerd. Programs are shared: an upgrade is an upgrade of all."""

    instance: str = ""
    """Empty: the default containerd."""
    bin_dir: str = "/usr/local/bin"

    @property
    def _suffix(self) -> str:
        return f"-{self.instance}" if self.instance else ""

    @property
    def unit(self) -> str:
        """Name of its unit."""
        return f"containerd{self._suffix}.service"

    @property
    def unit_path(self) -> str:
        """Path of its unit."""
        return f"/etc/systemd/system/{self.unit}"

    @property
    def drop_in(self) -> str:
        """What ties the unit to the pool."""
        return f"{self.unit_path}.d/10-devmapper-pool.conf"

    @property
    def config(self) -> str:
        """Its configuration."""
        return f"/etc/containerd/{self.instance or 'config'}.toml"

    @property
    def mke2fs(self) -> str:
        """How the file systems that it makes on thin devices are made."""
        return f"{self.config.removesuffix('.toml')}-mke2fs.conf"

    @property
    def root(self) -> str:
        """What it keeps: images, metadata."""
        return f"/var/lib/containerd{self._suffix}"

    @property
    def state(self) -> str:
        """What it keeps while the machine runs: containers, sockets."""
        return f"/run/containerd{self._suffix}"

    @property
    def socket(self) -> str:
        """Where it answers."""
        return f"{self.state}/containerd.sock"

    @property
    def loaded(self) -> str:
        """The digest of what it made of its files when it was started."""
        return f"{self.state}/devmapper-loaded"

    @property
    def record(self) -> str:
        """What last ran a container on both of its snapshotters."""
        return f"/var/lib/containerd-devmapper/smoke{self._suffix}"

    @property
    def command(self) -> str:
        """How its unit starts it."""
        config = f" --config {self.config}" if self.instance else ""
        return f"{self.bin_dir}/containerd{config}"

    @property
    def ctr(self) -> str:
        """The words of a shell command that talks to it; `-n NAMESPACE` and the rest go behind."""
        address = ["--address", self.socket] if self.instance else []
        return shlex.join([f"{self.bin_dir}/ctr", *address])

    @property
    def option(self) -> str:
        """What names it on our command line, with a blank before it."""
        return f" --instance {self.instance}" if self.instance else ""

    def __str__(self) -> str:
        """What to call it."""
        return f"the containerd instance {self.instance}" if self.instance else "the default containerd"


def check_instance(name: str) -> None:
    """Refuse a name that a unit, a path or a socket would not carry, or whose paths belong to something else.

    Raises:
        Refused: such a name.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name):
        raise Refused(
            f"instance: {name!r} is not an instance's name",
            "lower-case letters, digits and hyphens, not starting with a hyphen, at most 32",
            hint="for example --instance two",
        )
    if name in TAKEN:
        raise Refused(f"instance: the name {name!r} is taken", TAKEN[name], hint="choose another --instance")
