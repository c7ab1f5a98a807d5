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
read -r kernel </proc/sys/kernel/osrelease
machine='' systemd='' thin_pool='' generation=''
[ ! -r /proc/sys/kernel/arch ] || read -r machine </proc/sys/kernel/arch  # since Linux 6.1; saves a process
[ ! -d /run/systemd/system ] || systemd=yes
modules=/lib/modules/$kernel
if [ -d /sys/module/dm_thin_pool ] ||
  { [ -d "$modules" ] && grep -qs dm-thin-pool "$modules/modules.dep" "$modules/modules.builtin"; }
then thin_pool=yes; fi
[ ! -r /run/containerd-devmapper.generation ] || read -r generation </run/containerd-devmapper.generation
printf '%s\n' "id ${ID:-unknown}" "like ${ID_LIKE:-}" "version ${VERSION_ID:-}" "kernel $kernel" \
  "machine ${machine:-$(uname -m)}" "systemd $systemd" "thin_pool $thin_pool" "generation ${generation:-0}"
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
        systemd=found["systemd"] == "yes",
        thin_pool=found["thin_pool"] == "yes",
        generation=found["generation"],
    )


FAMILIES = {"debian": {"debian", "ubuntu"}, "redhat": {"rhel", "fedora", "centos", "openEuler", "openeuler"}}
