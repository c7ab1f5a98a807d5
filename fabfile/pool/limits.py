"""What every thin pool has in common: sizes, limits and the arithmetic between them."""

from __future__ import annotations

import re

import msgspec

from fabfile import hints, host, sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts import pool as facts
from fabfile.instance import Daemon
from fabfile.sizes import GIB, KIB, MIB

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""A subset of device-mapper names that is also safe in a unit's name and a path."""

BLOCK_STEP, BLOCK_MOST = 64 * KIB, GIB
"""Kernel: 128 to 2097152 sectors, a multiple of 128 (Documentation/admin-guide/device-mapper/thin-provisioning)."""

META_LEAST, META_MOST = 2 * MIB, 16192 * MIB
"""Kernel: at least 2 MiB, useless above 15.81 GiB."""

META_BLOCK = 4 * KIB

DEVICES = 1000
"""Thin devices, images' layers and containers, that a pool's metadata has room for by default."""

LEAF = 126
"""Blocks of data that a block of metadata tells the places of where it is half full."""

DATA_LEAST = 64 * MIB
"""Below it no base image fits; a guard against a forgotten unit."""


class Growth(msgspec.Struct, frozen=True):
    """What a person asked for of a pool that is to be larger, as written."""

    size: str = ""
    """That its data should have then; empty: as it is."""
    meta_size: str = ""
    """That its metadata should have then; empty: as it is, or what the data needs."""
    devices: tuple[str, ...] = ()
    """Disks that its volume group should have then, besides those that it has."""
    wipes: tuple[str, ...] = ()
    """Those of them whose content may be destroyed."""


def metadata_size(data: int, block: int) -> int:
    """Bytes of metadata for `data` bytes in blocks of `block` bytes, in whole MiB, at most 15.81 GiB.

    The larger of two: the kernel's 48 bytes a block, and what `DEVICES` devices need.
    """
    return min(-(-max(48 * data // block, needed(data, block)) // MIB) * MIB, META_MOST)


def needed(data: int, block: int) -> int:
    """Bytes of metadata that `thin_metadata_size` names for `DEVICES` devices, which share `data` bytes.

    A superblock, a root for each device, and leaves that are half full: thin-provisioning-tools,
    src/thin/metadata_size.rs.
    """
    return META_BLOCK * (1 + -(-(data // block) // LEAF) + DEVICES)


def earlier_size(data: int, block: int) -> int:
    """Bytes that `metadata_size` named until it counted devices: a pool that has so much has what was asked for.

    48 bytes a block, between 2 MiB and 15.81 GiB: the kernel's guide, thin-provisioning.rst, "Setting up a fresh pool
    device". It is rounded up.
    """
    return min(max(-(-(48 * data // block) // MIB) * MIB, META_LEAST), META_MOST)


def data_size(size: str, block: int) -> int:
    """Bytes of a data device, at least `DATA_LEAST` and a block."""
    return sizes.parse(size, "pool.size", least=max(DATA_LEAST, block))


def explicit_metadata(size: str) -> int:
    """Bytes of a metadata device: whole blocks of 4 KiB, as much as the kernel uses."""
    meta = sizes.parse(size, "pool.meta_size", least=META_LEAST)
    if meta > META_MOST:
        raise Refused(f"pool.meta_size: {size!r} is useless", f"the kernel uses at most {sizes.human(META_MOST)}")
    return meta // META_BLOCK * META_BLOCK


def check_autoextend(threshold: int, percent: int, max_size: str, data: int) -> int:
    """Refuse settings by which a pool of `data` bytes could not grow; the maximum in bytes, 0 for none."""
    if not 1 <= threshold <= 100:
        raise Refused(f"pool.threshold: {threshold} is not a threshold", "percent used, 1 to 100; 100: never grow")
    if not 1 <= percent <= 1000:
        raise Refused(f"pool.percent: {percent} is not a step", "percent of the pool's size, 1 to 1000")
    most = sizes.parse(max_size, "pool.max_size") if max_size else 0
    if most and most < data:
        raise Refused(f"pool.max_size: {max_size!r} is less than the pool", f"its size is {sizes.show(data)}")
    return most


def refuse_growth(now: facts.Pool, daemon: Daemon, name: str, unit: str) -> None:
    """Refuse to enlarge a pool that is not active, or in a state in which the kernel lets nothing grow.

    Args:
        now: the pool as it is.
        daemon: whose it is.
        name: its name.
        unit: what activates it.
    """
    if not now.table or not now.status:
        raise Refused(
            f"the pool {name} is not active", "a pool grows only while it is active", hint=f"systemctl restart {unit}"
        )
    if now.status.needs_check or now.status.mode in ("Fail", "Error"):
        state = f"{now.status.mode}{' needs_check' if now.status.needs_check else ''}"
        raise Refused(
            f"the pool {name} cannot grow before its metadata has been checked",
            f"the kernel says {state}",
            hint=hints.command("pool.repair", daemon, name),
        )


def check_name(name: str) -> None:
    """Refuse a pool name that device mapper, systemd or a path would not carry."""
    if not NAME.fullmatch(name):
        raise Refused(
            f"pool.name: {name!r} is not a pool name",
            "letters, digits and _ . -, not starting with a hyphen or dot, at most 64",
        )


def check_directory(dir: str) -> None:
    """Refuse a directory that is not an absolute, plain path below the root."""
    host.check_directory(dir, "pool.dir")


def refuse_machine(have: Facts) -> None:
    """Refuse a machine that can hold no pool at all."""
    if not have.system.systemd:
        raise Refused("this machine does not run systemd", "its units start the pool and containerd")
    if not have.system.thin_pool:
        raise Refused(
            f"the kernel {have.system.kernel} has no dm-thin-pool",
            "neither built in nor as a module under /lib/modules",
            hint="boot a distribution's kernel; on Ubuntu: apt-get install linux-modules-extra-$(uname -r)",
        )
