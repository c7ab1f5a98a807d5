"""Limits that every thin pool has, and the arithmetic of data, block and metadata sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from fabfile import hints, host, sizes
from fabfile.distributions import PACKAGES
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts import pool as facts
from fabfile.instance import Daemon
from fabfile.sizes import GIB, KIB, MIB

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""A subset of device-mapper's names that is also safe in a unit name and in a path."""

BLOCK_STEP, BLOCK_MOST = 64 * KIB, GIB
"""In the kernel: 128 to 2097152 sectors, a multiple of 128; see its thin-provisioning.rst."""

META_LEAST, META_MOST = 2 * MIB, 16192 * MIB
"""In the kernel: at least 2 MiB, and nothing above 15.81 GiB is used."""

META_BLOCK = 4 * KIB

DEVICES = 1000
"""Number of thin devices (image layers and containers) that the metadata has room for by default."""

LEAF = 126
"""Number of data blocks that a half-full metadata leaf block maps."""

DATA_LEAST = 64 * MIB
"""Smaller than any base image, so a smaller size probably lacks its unit."""


class Growth(msgspec.Struct, frozen=True):
    """The growth of a pool that an operator requested, as typed."""

    size: str = ""
    """New size of the data device; empty: unchanged."""
    meta_size: str = ""
    """New size of the metadata device; empty: what the data needs, at least the current size."""
    devices: tuple[str, ...] = ()
    """Disks to add to the volume group."""
    wipes: tuple[str, ...] = ()
    """Those of `devices` whose content may be destroyed."""


def metadata_size(data: int, block: int) -> int:
    """Compute the size of a pool's metadata device.

    It is the larger of the kernel's 48 bytes per block and the need of `DEVICES` thin devices, rounded up to whole MiB.

    Args:
        data: size of the data device in bytes.
        block: size of a block in bytes.

    Returns:
        Bytes, at most `META_MOST`.
    """
    return min(-(-max(48 * data // block, needed(data, block)) // MIB) * MIB, META_MOST)


def needed(data: int, block: int) -> int:
    """Compute the metadata that `DEVICES` thin devices need which share the data device, as `thin_metadata_size` does.

    That is a superblock, a root per device, and half-full leaves; from src/thin/metadata_size.rs of
    thin-provisioning-tools. Sizes are in bytes, as in `metadata_size`.
    """
    return META_BLOCK * (1 + -(-(data // block) // LEAF) + DEVICES)


def earlier_size(data: int, block: int) -> int:
    """Compute the size that `metadata_size` returned before it counted devices.

    A pool created then with a computed size has this much, and counts as what was requested. The formula is 48 bytes
    per block, rounded up to MiB, between 2 MiB and 15.81 GiB: the kernel's thin-provisioning.rst, "Setting up a fresh
    pool device".
    """
    return min(max(-(-(48 * data // block) // MIB) * MIB, META_LEAST), META_MOST)


def block_size(size: str, what: Literal["block", "chunk"]) -> int:
    """Parse the size of a pool's blocks into bytes.

    Args:
        size: as written, for example `64K`.
        what: what they are called in the settings of the pool's variant.

    Raises:
        Refused: it is not a size, or not one that the kernel allows.
    """
    block = sizes.parse(size, f"pool.{what}_size")
    if block % BLOCK_STEP or block > BLOCK_MOST:
        raise Refused(f"pool.{what}_size: {size!r} is not a {what} size", "a multiple of 64K, at most 1G")
    return block


def data_size(size: str, block: int) -> int:
    """Parse the size of a data device.

    Args:
        size: as written, for example `100G`.
        block: size of a block in bytes.

    Raises:
        Refused: it is not a size, or is less than `DATA_LEAST` or one block.
    """
    return sizes.parse(size, "pool.size", least=max(DATA_LEAST, block))


def explicit_metadata(size: str) -> int:
    """Parse the size of a metadata device into bytes, rounded down to whole metadata blocks of 4 KiB.

    Raises:
        Refused: it is not a size, or is outside of what the kernel uses.
    """
    return meta_size(size) // META_BLOCK * META_BLOCK


def meta_size(size: str) -> int:
    """Parse the size of a metadata device into bytes.

    Raises:
        Refused: it is not a size, or is outside of what the kernel uses.
    """
    meta = sizes.parse(size, "pool.meta_size", least=META_LEAST)
    if meta > META_MOST:
        raise Refused(f"pool.meta_size: {size!r} is too large", f"the kernel uses at most {sizes.human(META_MOST)}")
    return meta


def check_autoextend(threshold: int, percent: int, max_size: str, data: int) -> int:
    """Check the settings of automatic growth.

    Args:
        threshold: percent used at which the pool grows; 100: never.
        percent: growth step in percent of the current size.
        max_size: limit of automatic growth, as written; empty: none.
        data: size of the data device in bytes.

    Returns:
        The limit in bytes; 0: none.

    Raises:
        Refused: a value is out of range, or the limit is less than the pool's size.
    """
    if not 1 <= threshold <= 100:
        raise Refused(f"pool.threshold: {threshold} is not a threshold", "percent used, 1 to 100; 100: never grow")
    if not 1 <= percent <= 1000:
        raise Refused(f"pool.percent: {percent} is not a step", "percent of the pool's size, 1 to 1000")
    most = sizes.parse(max_size, "pool.max_size") if max_size else 0
    if most and most < data:
        raise Refused(f"pool.max_size: {max_size!r} is less than the pool", f"its size is {sizes.show(data)}")
    return most


def refuse_growth(now: facts.Pool, daemon: Daemon, name: str, unit: str) -> None:
    """Refuse to enlarge a pool that is inactive, or whose metadata the kernel does not let grow.

    Args:
        now: the state of the pool.
        daemon: the containerd instance that it belongs to.
        name: the pool's name.
        unit: the systemd unit that activates it.

    Raises:
        Refused: with the command that activates or repairs the pool.
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


def shrinking(what: str, has: int, wanted: int) -> Refused:
    """The refusal of a size that is less than the present one.

    Args:
        what: `data` or `metadata`.
        has: the present size in bytes.
        wanted: the requested size in bytes.
    """
    return Refused(
        f"a pool's {what} cannot shrink",
        f"it has {sizes.show(has)}, requested: {sizes.show(wanted)}",
        hint="create another, smaller pool, move what is needed, and remove this one",
    )


def check_name(name: str) -> None:
    """Refuse a pool name that is not valid for device mapper, a systemd unit and a path alike."""
    if not NAME.fullmatch(name):
        raise Refused(
            f"pool.name: {name!r} is not a pool name",
            "letters, digits and _ . -, not starting with a hyphen or dot, at most 64",
        )


def check_directory(dir: str) -> None:
    """Refuse a pool directory that is not an absolute, normalised path below the root."""
    host.check_directory(dir, "pool.dir")


def refuse_missing_programs(have: Facts, programs: Iterable[str], why: str = "") -> None:
    """Refuse a machine without one of the programs.

    Args:
        have: facts of the machine.
        programs: names of programs, of `facts.needs`.
        why: more about what is missing.

    Raises:
        Refused: with the packages that contain them.
    """
    missing = [program for program in programs if program not in have.needs]
    if missing:
        table = PACKAGES.get(have.system.family, PACKAGES["debian"])
        packages = sorted({table[program] for program in missing})
        raise Refused(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing on the host",
            "\n".join(filter(None, [f"package{'' if len(packages) == 1 else 's'}: {' '.join(packages)}", why])),
            hint=f"install {'it' if len(packages) == 1 else 'them'}: {hints.command('packages')}",
        )


KERNEL = "a distribution's kernel, or the new one if an upgrade has removed the modules of the running one"
"""What a host without dm-thin-pool is to boot."""


def refuse_machine(have: Facts) -> None:
    """Refuse a machine without systemd or without dm-thin-pool, which no pool can do without."""
    if not have.system.systemd:
        raise Refused("the host does not run systemd", "its units start the pool and containerd")
    if not have.system.thin_pool:
        raise Refused(
            f"the kernel {have.system.kernel} has no dm-thin-pool",
            "neither built in nor as a module under /lib/modules",
            hint=f"boot {KERNEL}; on Ubuntu: apt-get install linux-modules-extra-$(uname -r)",
        )
