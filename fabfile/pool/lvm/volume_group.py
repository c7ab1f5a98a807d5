"""The volume group of a direct pool: valid names, and whether an existing group can be used."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fabfile import hints
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.lvm import Lvm
from fabfile.facts.record import LvmRecord
from fabfile.facts.under import BackingVolume
from fabfile.facts.volume_group import VolumeGroup
from fabfile.host import lvm_name
from fabfile.plan import Change
from fabfile.pool import limits, units
from fabfile.pool.health import visibility
from fabfile.shell import words

PROFILES = "/etc/lvm/profile"
"""Where LVM looks for profiles, unless lvm.conf says otherwise."""

PROGRAMS = ("dmsetup", "lvm", "dmeventd", "thin_check", "mkfs.ext4")

RESERVED = re.compile(
    r"(snapshot|pvmove).*|.*_(cdata|cmeta|corig|cpool|cvol|imeta|iorig|mimage|mlog|pmspare|rimage|rmeta|tdata|tmeta"
    r"|vdata|vorigin|wcorig).*"
)
"""Names that LVM reserves; see lvm(8). It reserves the words behind `_` anywhere in a name."""


def profile(name: str) -> str:
    """Path of the LVM profile of a pool, in the default directory."""
    return f"{PROFILES}/{name}.profile"


def check_name(name: str, key: str) -> None:
    """Refuse a name that is not valid for a volume group; `key` names it in the error."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,54}", name):
        raise Refused(
            f"{key}: {name!r} is not a name that a pool can have",
            "letters, digits and _ . -, starting with a letter or digit, at most 55",
        )


def check_volume(name: str, key: str) -> None:
    """Refuse a name that is not valid for a logical volume; `key` names it in the error."""
    check_name(name, key)
    if RESERVED.fullmatch(name):
        raise Refused(f"{key}: {name!r} is a name that LVM reserves", hint="for example --lv thinpool")


def refuse_programs(have: Facts) -> None:
    """Refuse a machine without a program that a direct pool needs, now or at boot."""
    why = "without thin_check LVM activates no pool, and says that it needs repair"
    limits.refuse_missing_programs(have, PROGRAMS, "" if "thin_check" in have.needs else why)


def refuse_unasked(lvm: Lvm | BackingVolume | None) -> None:
    """Refuse to rely on LVM where it could not be asked: what it does not show may exist.

    Raises:
        Refused: with the reason and what to do.
    """
    if why := visibility.unasked(lvm):
        found, way = why
        what, _, details = found.partition(": ")
        raise Refused(what, details, hint=way)


def usable(have: Facts, name: str, recorded: LvmRecord | None = None) -> VolumeGroup | None:
    """Return the volume group `name`; None if there is none.

    Args:
        have: facts of the machine.
        name: name of the volume group.
        recorded: the record of the pool in it, if there is one.

    Raises:
        Refused: the group cannot be used or is not the recorded one; or LVM on the host does not monitor pools, or
            does not wait for the device nodes of new volumes.
    """
    if have.lvm is None:
        return None
    refuse_unasked(have.lvm)
    if have.lvm.settings.get("udev_sync") == "0" and have.lvm.settings.get("udev_rules") != "0":
        raise Refused(
            "LVM does not find the volumes that it makes on the host",
            "lvm.conf says activation/udev_sync = 0: it leaves their device nodes to udev and does not wait for them",
            hint="set it to 1 in /etc/lvm/lvm.conf; in a container without a udevd: udev_rules = 0, too",
        )
    if have.lvm.settings.get("monitoring") == "0":
        raise Refused(
            "LVM does not monitor pools on the host",
            "lvm.conf says activation/monitoring = 0: a pool would never grow by itself",
            hint="set it to 1 in /etc/lvm/lvm.conf",
        )
    group = only(have.lvm, name)
    if group is None:
        return None
    if recorded and recorded.vg_uuid and recorded.vg_uuid != group.uuid:
        way = "bring its own disks back; vgrename by UUID tells groups of one name apart"
        if group.of_uuid(recorded.lv_uuid):  # as after vgsplit, or in a copy of its disks
            conf = units.conf(lvm_name(recorded.vg, recorded.lv))
            record = hints.on_host(words("sed", "-i", f"s/^VG_UUID=.*/VG_UUID={group.uuid}/", conf))
            way = f"it has the pool's volume; if its disks are the pool's own, and no copy of them, record it: {record}"
        raise Refused(
            f"the volume group {name} is not the one that was recorded",
            f"recorded {recorded.vg_uuid}, found {group.uuid} on {' '.join(group.devices)}",
            hint=way,
        )
    wrong = against(have.lvm, group, recorded)
    if wrong:
        raise Refused(f"the volume group {name} cannot be used", "\n".join([*wrong, *have.lvm.said]))
    return group


def against(lvm: Lvm, group: VolumeGroup, recorded: LvmRecord | None = None) -> list[str]:
    """List the reasons against a pool in a group.

    Missing disks are one only if the pool does not exist yet, or is partly on them.

    Args:
        lvm: LVM's view of the host.
        group: the volume group.
        recorded: the record of the pool in it, if there is one.
    """
    wrong = []
    pool = group.of_uuid(recorded.lv_uuid) if recorded else None
    if group.missing and (pool is None or pool.partial):
        wrong.append(f"{group.missing} of its disks are missing{', and with them part of the pool' if pool else ''}")
    if group.lock_type not in ("", "none"):
        wrong.append(f"it is shared between hosts ({group.lock_type})")
    if lvm.foreign(group):
        wrong.append(f"it belongs to the host {group.system!r}")
    if not group.attr.startswith("w"):
        wrong.append("it is read-only")
    if group.attr[2:3] == "x":
        wrong.append("it is exported")
    if group.twice:
        wrong.append(f"there is a second device with the identity of {' and of '.join(group.twice)}")
    return wrong


def refuse_change(group: VolumeGroup, changes: Sequence[Change]) -> None:
    """Refuse to change a volume group with missing disks, after which LVM takes their content for lost.

    Raises:
        Refused: with the changes that were planned.
    """
    if group.missing and changes:
        raise Refused(
            f"disks of the volume group {group.name} are missing: it is not changed",
            "\n".join([*(change.why for change in changes), "LVM would count what is on them as lost"]),
            hint=f"bring them back: pvs -o +pv_missing shows which; vgextend --restoremissing {group.name} DEVICE",
        )


def only(lvm: Lvm, name: str) -> VolumeGroup | None:
    """Return the only volume group `name`, whatever its state; None if there is none.

    Raises:
        Refused: there are several of that name.
    """
    if len(lvm.groups) > 1:
        raise Refused(
            f"{len(lvm.groups)} volume groups are named {name}",
            "\n".join(f"{group.uuid} on {' '.join(group.devices)}" for group in lvm.groups),
            hint="vgrename one of them by its UUID",
        )
    return lvm.group
