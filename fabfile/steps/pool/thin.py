"""What every thin pool has in common: sizes, limits and the arithmetic between them."""

from __future__ import annotations

import re

import msgspec

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.sizes import GIB, KIB, MIB, SECTOR

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
"""A subset of device-mapper names that is also safe in a unit's name and a path."""

BLOCK_STEP, BLOCK_MOST = 64 * KIB, GIB
"""Kernel: 128 to 2097152 sectors, a multiple of 128 (Documentation/admin-guide/device-mapper/thin-provisioning)."""

META_LEAST, META_MOST = 2 * MIB, 16192 * MIB
"""Kernel: at least 2 MiB, useless above 15.81 GiB."""

DATA_LEAST = 64 * MIB
"""Below it no base image fits; a guard against a forgotten unit."""

LOW_WATER_BYTES = 2 * GIB
"""The 2020 recipe's 32768 blocks of 64 KiB."""


class Pool(msgspec.Struct, frozen=True):
    """A thin pool on files, as wanted. Sizes in bytes."""

    name: str
    dir: str
    data: int
    meta: int
    block: int
    instance: str = ""
    """The containerd that it is for; empty: the default one."""

    @property
    def data_file(self) -> str:
        """The file behind the data device."""
        return f"{self.dir}/data"

    @property
    def meta_file(self) -> str:
        """The file behind the metadata device."""
        return f"{self.dir}/meta"

    @property
    def low_water_blocks(self) -> int:
        """Free blocks below which the kernel raises its event: 2 GiB, or a tenth of a small pool."""
        return min(LOW_WATER_BYTES, self.data // 10) // self.block

    @property
    def sectors(self) -> int:
        """Length of the data device; whole blocks only, as the kernel maps no other."""
        return self.data // self.block * self.block // SECTOR


def metadata_size(data: int, block: int) -> int:
    """Bytes of metadata for `data` bytes in blocks of `block` bytes, in whole MiB.

    48 bytes a block, between 2 MiB and 15.81 GiB: the kernel's guide, thin-provisioning.rst, "Setting up a fresh pool
    device". It is rounded up.
    """
    need = 48 * data // block
    return min(max(-(-need // MIB) * MIB, META_LEAST), META_MOST)


def pool(*, name: str, dir: str, size: str, meta_size: str, block_size: str, instance: str = "") -> Pool:
    """A checked `Pool` from what a person wrote.

    Raises:
        Refused: a name, directory or size that cannot be; see the module's constants for the limits.
    """
    check_name(name)
    check_directory(dir)
    block = sizes.parse(block_size, "pool.block_size")
    if block % BLOCK_STEP or block > BLOCK_MOST:
        raise Refused(f"pool.block_size: {block_size!r} is not a block size", "a multiple of 64K, at most 1G")
    data = sizes.parse(size, "pool.size", least=max(DATA_LEAST, block))
    meta = sizes.parse(meta_size, "pool.meta_size", least=META_LEAST) if meta_size else metadata_size(data, block)
    if meta > META_MOST:
        raise Refused(f"pool.meta_size: {meta_size!r} is useless", f"the kernel uses at most {sizes.human(META_MOST)}")
    return Pool(name, dir.rstrip("/"), data, meta, block, instance)


def check_name(name: str) -> None:
    """Refuse a pool name that device mapper, systemd or a path would not carry."""
    if not NAME.fullmatch(name):
        raise Refused(
            f"pool.name: {name!r} is not a pool name",
            "letters, digits and _ . + -, not starting with a hyphen or dot, at most 64",
        )


def check_directory(dir: str) -> None:
    """Refuse a directory that is not an absolute, plain path below the root."""
    if not re.fullmatch(r"(/[A-Za-z0-9_.+@:-]+)+/?", dir) or ".." in dir.split("/"):
        raise Refused(
            f"pool.dir: {dir!r} is not an absolute directory",
            "letters, digits and _ . + @ : - in each part",
            hint="for example --dir /var/lib/containerd/devmapper",
        )
