"""The programs that a host needs, and the packages that contain them."""

from __future__ import annotations

THIN = ("thin_check", "thin_dump", "thin_ls", "thin_repair", "thin_restore")
PROGRAMS = ("dmsetup", "lvm", "dmeventd", *THIN, "mkfs.ext4", "mkfs.xfs", "losetup")
RUN = (*PROGRAMS, "certificates")
BUILD = ("git", "make", "gcc", "pkg-config", "seccomp.h", "libc.h")

PACKAGES = {
    "debian": {
        "dmsetup": "dmsetup",
        "lvm": "lvm2",
        "dmeventd": "dmeventd",
        "thin_check": "thin-provisioning-tools",
        "thin_dump": "thin-provisioning-tools",
        "thin_ls": "thin-provisioning-tools",
        "thin_repair": "thin-provisioning-tools",
        "thin_restore": "thin-provisioning-tools",
        "mkfs.ext4": "e2fsprogs",
        "mkfs.xfs": "xfsprogs",
        "losetup": "mount",
        "certificates": "ca-certificates",
        "git": "git",
        "make": "make",
        "gcc": "gcc",
        "pkg-config": "pkg-config",
        "seccomp.h": "libseccomp-dev",
        "libc.h": "libc6-dev",
    },
    "redhat": {
        "dmsetup": "device-mapper",
        "lvm": "lvm2",
        "dmeventd": "device-mapper-event",
        "thin_check": "device-mapper-persistent-data",
        "thin_dump": "device-mapper-persistent-data",
        "thin_ls": "device-mapper-persistent-data",
        "thin_repair": "device-mapper-persistent-data",
        "thin_restore": "device-mapper-persistent-data",
        "mkfs.ext4": "e2fsprogs",
        "mkfs.xfs": "xfsprogs",
        "losetup": "util-linux",
        "certificates": "ca-certificates",
        "git": "git",
        "make": "make",
        "gcc": "gcc",
        "pkg-config": "pkgconf",
        "seccomp.h": "libseccomp-devel",
        "libc.h": "glibc-devel",
    },
}
"""Distribution family → need (see facts/needs.py) → package."""
