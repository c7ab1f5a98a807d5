"""A containerd on a machine, the default one or an additional instance, and the paths that instances must not share."""

from __future__ import annotations

import re
import shlex

import msgspec

from fabfile.errors import Refused

DEFAULT = "default"
"""Name of the default containerd, for selecting it if the inventory names another instance."""

OURS = "# Written by containerd-devmapper"
"""First line of every unit of ours."""

TAKEN = {
    "config": "/etc/containerd/config.toml is the default containerd's",
    "devmapper": "/var/lib/containerd-devmapper is where this tool keeps its own records",
}


class Daemon(msgspec.Struct, frozen=True):
    """The paths of one containerd. Programs are shared by all, and so is an upgrade."""

    instance: str = ""
    """Name of the instance; empty: the default containerd."""
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
    def drop_in_path(self) -> str:
        """Path of the drop-in that ties its unit to the pool."""
        return f"{self.unit_path}.d/10-devmapper-pool.conf"

    @property
    def config_path(self) -> str:
        """Path of its configuration."""
        return f"/etc/containerd/{self.instance or 'config'}.toml"

    @property
    def mke2fs_path(self) -> str:
        """Path of the mke2fs configuration for its file systems on thin devices."""
        return f"{self.config_path.removesuffix('.toml')}-mke2fs.conf"

    @property
    def root(self) -> str:
        """Directory of what it stores permanently: images, metadata."""
        return f"/var/lib/containerd{self._suffix}"

    @property
    def state(self) -> str:
        """Directory of what it stores until a reboot: containers, sockets."""
        return f"/run/containerd{self._suffix}"

    @property
    def socket(self) -> str:
        """Path of its socket."""
        return f"{self.state}/containerd.sock"

    @property
    def nri(self) -> str:
        """Path of an instance's socket for NRI, which since containerd 2.0 is otherwise the same for all."""
        return f"{self.state}/nri.sock"

    @property
    def loaded_path(self) -> str:
        """Path of a file with the digest of its complete configuration at the time it was started."""
        return f"{self.state}/devmapper-loaded"

    @property
    def smoke_record_path(self) -> str:
        """Path of the record of its last smoke test that passed."""
        return f"/var/lib/containerd-devmapper/smoke{self._suffix}"

    @property
    def command(self) -> str:
        """The command line in its unit."""
        config = f" --config {self.config_path}" if self.instance else ""
        return f"{self.bin_dir}/containerd{config}"

    @property
    def ctr(self) -> str:
        """Shell words of a ctr command for it, to be followed by options such as `-n NAMESPACE`."""
        address = ["--address", self.socket] if self.instance else []
        return shlex.join([f"{self.bin_dir}/ctr", *address])

    def __str__(self) -> str:
        """How messages call it."""
        return f"the containerd instance {self.instance}" if self.instance else "the default containerd"


def check_instance(name: str) -> None:
    """Refuse an instance name that is not valid in units and paths, or whose paths belong to something else.

    Raises:
        Refused: with what is valid, or what the name is used for.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name):
        raise Refused(
            f"instance: {name!r} is not an instance's name",
            "lower-case letters, digits and hyphens, not starting with a hyphen, at most 32",
            hint="for example --instance two",
        )
    if name in TAKEN:
        raise Refused(f"instance: the name {name!r} is taken", TAKEN[name], hint="choose another --instance")
