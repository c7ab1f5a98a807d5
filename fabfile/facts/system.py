"""The machine itself: distribution, kernel, architecture, systemd, device mapper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fabfile.keyvalue import lines

if TYPE_CHECKING:
    from fabfile.facts.query import Query

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""`uname -m` → the name that releases of Go, containerd and runc use."""


class System(msgspec.Struct, frozen=True):
    """The machine itself."""

    distribution: str
    version: str
    family: str
    """Family by package manager, `debian` or `redhat`; the distribution's own name if it is neither."""
    kernel: str
    arch: str
    systemd: bool
    thin_pool: bool
    """The kernel has dm-thin-pool: built in, loaded, or as a module."""
    generation: str


def fragment(query: Query) -> str:
    """Print a `key value` line for each fact."""
    return r"""
# shellcheck source=/dev/null
[ ! -r /etc/os-release ] || . /etc/os-release
echo "id ${ID:-unknown}"; echo "like ${ID_LIKE:-}"; echo "version ${VERSION_ID:-}"
read -r kernel </proc/sys/kernel/osrelease; echo "kernel $kernel"
machine=''
[ ! -r /proc/sys/kernel/arch ] || read -r machine </proc/sys/kernel/arch  # since Linux 6.1; saves a process
echo "machine ${machine:-$(uname -m)}"
[ ! -d /run/systemd/system ] || echo systemd yes
modules=/lib/modules/$kernel
if [ -d /sys/module/dm_thin_pool ] ||
  { [ -d "$modules" ] && grep -qs dm-thin-pool "$modules/modules.dep" "$modules/modules.builtin"; }
then echo thin_pool yes; fi
generation=''
[ ! -r /run/containerd-devmapper.generation ] || read -r generation </run/containerd-devmapper.generation
echo "generation ${generation:-0}"
"""


def parse(text: str) -> System:
    """Parse the fragment's output."""
    found = lines(text)
    like = f"{found['id']} {found['like']}".split()
    family = next((f for f, names in FAMILIES.items() if names & set(like)), found["id"])
    return System(
        distribution=found["id"],
        version=found["version"],
        family=family,
        kernel=found["kernel"],
        arch=ARCHITECTURES.get(found["machine"], found["machine"]),
        systemd="systemd" in found,
        thin_pool="thin_pool" in found,
        generation=found["generation"],
    )


FAMILIES = {"debian": {"debian", "ubuntu"}, "redhat": {"rhel", "fedora", "centos", "openEuler", "openeuler"}}
