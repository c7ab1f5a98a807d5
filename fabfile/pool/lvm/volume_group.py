"""The volume group under a direct pool: names that LVM takes, and whether the group that is there can be used."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fabfile import hints
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.lvm import Lvm
from fabfile.facts.record import LvmRecord
from fabfile.facts.volume_group import Group
from fabfile.plan import Change, words

PROFILES = "/etc/lvm/profile"
"""Where LVM looks for profiles unless lvm.conf says otherwise."""

PROGRAMS = ("dmsetup", "lvm", "dmeventd", "thin_check", "mkfs.ext4")

RESERVED = re.compile(
    r"(snapshot|pvmove).*|.*_(cdata|cmeta|corig|cpool|cvol|iorig|mimage|mlog|pmspare|rimage|rmeta|tdata|tmeta|vdata"
    r"|vorigin|wcorig)(_.*)?"
)
"""Names that LVM keeps for itself, lvm(8)."""


def profile(name: str) -> str:
    """Path of LVM's profile of a pool, in the usual place."""
    return f"{PROFILES}/{name}.profile"


def check_name(name: str, key: str) -> None:
    """Refuse a name that LVM would not take for a volume group."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,54}", name):
        raise Refused(
            f"{key}: {name!r} is not a name that LVM allows",
            "letters, digits and _ . -, starting with a letter or digit, at most 55",
        )


def check_volume(name: str, key: str) -> None:
    """Refuse a name that LVM would not take for a logical volume."""
    check_name(name, key)
    if RESERVED.fullmatch(name):
        raise Refused(f"{key}: {name!r} is a name that LVM reserves", hint="for example --lv thinpool")


def refuse_programs(have: Facts) -> None:
    """Refuse a machine that lacks a program that a direct pool needs, now or at its next boot."""
    missing = [program for program in PROGRAMS if program not in have.needs]
    if missing:
        why = "\nwithout thin_check LVM activates no pool, and says that it needs repair" * ("thin_check" in missing)
        install = f"install them: {hints.command('packages')}"
        raise Refused("programs are missing", f"{', '.join(missing)}{why}", hint=install)


def refuse_suspended(lvm: Lvm) -> None:
    """Refuse what needs LVM's word while a device is suspended: what it does not show may be there.

    Raises:
        Refused: with the command that resumes them.
    """
    if lvm.suspended:
        raise Refused(
            f"LVM cannot be queried while {' '.join(lvm.suspended)} is suspended",
            "it would wait for ever",
            hint=words("dmsetup", "resume", *lvm.suspended),
        )


def usable(have: Facts, name: str, recorded: LvmRecord | None = None) -> Group | None:
    """The volume group `name`, if there is one.

    Args:
        have: the machine.
        name: of the group.
        recorded: the record of the pool that is in it, where it is ours already.

    Raises:
        Refused: LVM does not watch pools on this machine, or cannot find what it makes; or the group cannot be used,
            or is another one than was recorded.
    """
    if have.lvm is None:
        return None
    refuse_suspended(have.lvm)
    if have.lvm.settings.get("udev_sync") == "0" and have.lvm.settings.get("udev_rules") != "0":
        raise Refused(
            "LVM does not find the volumes that it makes on this machine",
            "lvm.conf says activation/udev_sync = 0: it leaves their device nodes to udev and does not wait for them",
            hint="set it to 1 in /etc/lvm/lvm.conf; in a container without a udevd: udev_rules = 0, too",
        )
    if have.lvm.settings.get("monitoring") == "0":
        raise Refused(
            "LVM monitors no pools on this machine",
            "lvm.conf says activation/monitoring = 0: a pool would never grow by itself",
            hint="set it to 1 in /etc/lvm/lvm.conf",
        )
    group = only(have.lvm, name)
    if group is None:
        return None
    if recorded and recorded.vg_uuid and recorded.vg_uuid != group.uuid:
        raise Refused(
            f"the volume group {name} is not the one that was recorded",
            f"recorded {recorded.vg_uuid}, found {group.uuid} on {' '.join(group.devices)}",
            hint="bring its own disks back; vgrename by UUID tells groups of one name apart",
        )
    wrong = against(have.lvm, group, recorded)
    if wrong:
        raise Refused(f"the volume group {name} cannot be used", "\n".join([*wrong, *have.lvm.said]))
    return group


def against(lvm: Lvm, group: Group, recorded: LvmRecord | None = None) -> list[str]:
    """What speaks against a pool in a group. Missing disks do where there is none yet, or part of it is on them."""
    wrong = []
    uuid = recorded.lv_uuid if recorded else None
    pool = next((of for of in group.volumes.values() if of.uuid and of.uuid == uuid), None)
    if group.missing and (pool is None or pool.partial):
        wrong.append(f"{group.missing} of its disks are missing{', and with them part of the pool' if pool else ''}")
    if group.lock_type not in ("", "none"):
        wrong.append(f"it is shared between machines ({group.lock_type})")
    if group.system and group.system != lvm.system:
        wrong.append(f"it belongs to the host {group.system!r}")
    if not group.attr.startswith("w"):
        wrong.append("it is read-only")
    if group.attr[2:3] == "x":
        wrong.append("it is exported")
    if group.twice:
        wrong.append(f"there is a second device with the identity of {' and of '.join(group.twice)}")
    return wrong


def refuse_change(group: Group, changes: Sequence[Change]) -> None:
    """Refuse to change a group of which disks are missing: LVM then counts what is on them as lost.

    Raises:
        Refused: with what would have been changed.
    """
    if group.missing and changes:
        raise Refused(
            f"disks of the volume group {group.name} are missing: it is not changed",
            "\n".join([*(change.why for change in changes), "LVM would count what is on them as lost"]),
            hint=f"bring them back: pvs -o +pv_missing shows which; vgextend --restoremissing {group.name} DEVICE",
        )


def only(lvm: Lvm, name: str) -> Group | None:
    """The volume group `name`, whatever its state, if there is one.

    Raises:
        Refused: there are several, and nobody can tell which is meant.
    """
    if len(lvm.groups) > 1:
        raise Refused(
            f"{len(lvm.groups)} volume groups are named {name}",
            "\n".join(f"{group.uuid} on {' '.join(group.devices)}" for group in lvm.groups),
            hint="vgrename one of them by its UUID",
        )
    return lvm.group
