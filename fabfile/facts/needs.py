"""Which of the programs and headers that we need exist; files are checked, so their origin does not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabfile.facts.query import Query

PROBES = {
    "dmsetup": "dmsetup",
    "lvm": "lvm",
    "dmeventd": "dmeventd",
    "thin_check": "thin_check",
    "thin_dump": "thin_dump",
    "thin_ls": "thin_ls",
    "thin_repair": "thin_repair",
    "thin_restore": "thin_restore",
    "mkfs.ext4": "mkfs.ext4",
    "mkfs.xfs": "mkfs.xfs",
    "losetup": "losetup",
    "git": "git",
    "make": "make",
    "gcc": "gcc",
    "pkg-config": "pkg-config",
    "seccomp.h": "/usr/include/seccomp.h",
    "libc.h": "/usr/include/stdlib.h",
    "certificates": "/etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem"
    " /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem /etc/ssl/cert.pem",
}
"""Need → a command to find in PATH, or absolute paths of which one must exist. Without certificates of authorities,
containerd pulls from no registry with TLS; the paths are those that Go reads (crypto/x509/root_linux.go)."""


def fragment(query: Query) -> str:
    """Print the needs that are met."""
    commands = " ".join(probe for probe in PROBES.values() if not probe.startswith("/"))
    paths = " ".join(probe for probe in PROBES.values() if probe.startswith("/"))
    return f"""
found=''
for n in {commands}; do ! command -v "$n" >/dev/null || found="$found $n"; done
for n in {paths}; do [ ! -e "$n" ] || found="$found $n"; done
echo "$found"
"""


def parse(text: str) -> frozenset[str]:
    """Parse the needs that are met."""
    found = set(text.split())
    return frozenset(need for need, probe in PROBES.items() if not found.isdisjoint(probe.split()))
