"""The line of /etc/fstab that mounts the volume under a loop pool."""

from __future__ import annotations

from fabfile.facts import Facts
from fabfile.plan import Change
from fabfile.pool.safety import gate

PATH = "/etc/fstab"

OPTIONS = "nofail,x-systemd.device-timeout=30s"
"""Without the disk the machine still boots, with SSH but without containerd, which waits for its pool."""


def line(uuid: str, dir: str) -> str:
    """The line that mounts the file system with this UUID at every boot."""
    return f"UUID={uuid} {dir} ext4 {OPTIONS} 0 2"


def lines(have: Facts, sources: tuple[str, ...], dir: str) -> list[str]:
    """List the lines that mount one of the devices `sources` at `dir`, whatever their options."""
    table = have.files.get(PATH)
    found = []
    for entry in table.content.splitlines() if table else []:
        fields = entry.split()
        if fields[1:2] == [dir] and fields[0] in sources:
            found.append(entry)
    return found


def dropped(have: Facts, sources: tuple[str, ...], dir: str) -> list[Change]:
    """Plan to remove the lines that mount one of the devices `sources` at `dir`."""
    return [gate.drop_fstab(f"{dir} is not mounted at boot", entry) for entry in lines(have, sources, dir)]
