"""LVM's view of the host: volume groups, the disks that they are on, and LVM's own settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from fabfile.facts import prelude, volume_group
from fabfile.facts.volume_group import REPORT, VolumeGroup
from fabfile.keyvalue import lines

if TYPE_CHECKING:
    from fabfile.facts.query import Query

SETTINGS = (
    "activation/monitoring",
    "activation/read_only_volume_list",
    "activation/udev_rules",
    "activation/udev_sync",
    "activation/volume_list",
    "config/profile_dir",
    "devices/devicesfile",
    "devices/filter",
    "devices/global_filter",
    "devices/use_devicesfile",
    "global/thin_check_executable",
    "local/extra_system_ids",
)
"""The settings of lvm.conf that plans depend on."""

ALL_DEVICES = 'devices { use_devicesfile=0 filter=["a|.*|"] global_filter=["a|.*|"] }'
"""Settings with which LVM hides no disk."""


class PhysicalDevice(msgspec.Struct, frozen=True):
    """The device of a physical volume."""

    sector: int
    """Logical sector size in bytes."""
    size: int
    serial: str = ""


class Hidden(msgspec.Struct, frozen=True):
    """A physical volume that LVM's devices file or filters hide."""

    uuid: str
    group: str = ""
    group_uuid: str = ""


class Lvm(msgspec.Struct, frozen=True):
    """LVM's view of the host, as far as direct pools need it."""

    settings: dict[str, str]
    groups: tuple[VolumeGroup, ...] = ()
    """Volume groups of the queried name; more than one is an error that LVM warns about."""
    physical: dict[str, str] = {}
    """Device of each physical volume → name of its volume group, or empty."""
    profile: str | None = None
    """Content of the pool's LVM profile."""
    said: tuple[str, ...] = ()
    """LVM's warnings."""
    uuids: dict[str, str] = {}
    """Device of each physical volume → its UUID."""
    every: tuple[VolumeGroup, ...] = ()
    """All volume groups, those of other hosts included."""
    system: str = ""
    """System ID of this host."""
    seed: str = ""
    """Random and new each time; identities of new objects are derived from it."""
    devices: dict[str, PhysicalDevice] = {}
    """Device of each physical volume → its properties."""
    names: dict[str, str] = {}
    """UUID of each volume and volume group, without hyphens → `VG/LV`, or `VG`."""
    suspended: tuple[str, ...] = ()
    """Suspended devices, for which LVM would hang; if there are any, it was not queried."""
    failed: str = ""
    """Why LVM reported nothing at all: its configuration may be damaged."""
    busy: bool = False
    """LVM took too long to answer: another of its commands holds a lock, or a disk does not respond."""
    hidden: dict[str, Hidden] = {}
    """Device → physical volume that devices file or filters hide; searched if the group is missing or lacks a disk."""

    @property
    def group(self) -> VolumeGroup | None:
        """The volume group of the queried name."""
        return self.groups[0] if self.groups else None

    def foreign(self, group: VolumeGroup) -> bool:
        """Whether a volume group belongs to another host, so that LVM does not use it here."""
        ours = {self.system, *strings(self.settings.get("extra_system_ids", ""))}
        return bool(group.system) and group.system not in ours

    def enlarged(self, group: VolumeGroup) -> list[str]:
        """List the devices of a group if together they have room for two more extents each than LVM uses."""
        there = [self.devices[device].size for device in group.devices if device in self.devices]
        room = sum(there) - group.extents * group.extent
        return list(group.devices) if room >= 2 * group.extent * len(group.devices) else []

    def by_uuid(self, uuid: str) -> VolumeGroup | None:
        """Return the volume group with this UUID, whatever its name; None if there is none."""
        return next((group for group in (*self.every, *self.groups) if uuid and group.uuid == uuid), None)


def strings(value: str) -> list[str]:
    """Parse a list of lvm.conf, `["a","b"]`, or a single string."""
    try:
        values = json.loads(value)
    except ValueError:
        return [value]
    return [str(one) for one in values] if isinstance(values, list) else [str(values)]


HIDDEN = f"""case $report in
  *"busy yes"*) exit 0 ;;
  *'"vg_missing_pv_count":"'[1-9]*) ;;
  *'"vg_name":"'"$vg"'"'*) exit 0 ;;
esac
asked lvm pvs --noheadings -o pv_name,pv_uuid,vg_uuid,vg_name --config '{ALL_DEVICES} '"$plain"
while read -r name of; do
  [ -z "$name" ] || echo "hidden $(readlink -e "$name" || echo "$name") $of"
done <<PVS
$reply
PVS
"""
"""Shell, the last part: print all physical volumes if `$report` does not show the complete group `$vg`."""


def fragment(query: Query) -> str:
    """Make one report for everything, as each LVM command scans all disks; none while LVM would hang."""
    from fabfile.shell import quote

    # LVM's hints omit a disk that is a copy.
    how = "--foreign --shared --nohints --units b --nosuffix --reportformat json"
    reports = " ".join(f"--configreport {name} -o {fields}" for name, fields in REPORT.items())
    return rf"""
vg={quote(query.vg)} name={quote(query.pool)}
conf=/etc/devmapper-pool/$name.conf
VG=$vg
# shellcheck source=/dev/null
[ -n "$vg" ] || [ ! -r "$conf" ] || . "$conf"
vg=$VG
[ -n "${{vg}}{"all" if query.all_disks else ""}" ] && command -v lvm >/dev/null || exit 0
export LVM_SUPPRESS_FD_WARNINGS=1
echo "group $vg"
echo "seed $(cat /proc/sys/kernel/random/uuid)"
echo "system $(lvm systemid 2>/dev/null | sed 's/^.*system ID: *//')"
[ -z "$suspended" ] || {{ echo "suspended$suspended"; exit 0; }}
config=$(lvm lvmconfig --typeconfig full {" ".join(SETTINGS)} 2>/dev/null)
echo "$config" | sed 's/^/set /'
dir=$(echo "$config" | sed -n 's/^profile_dir="\(.*\)"$/\1/p')
if [ -f "$dir/$name.profile" ]; then echo profile; sed 's/^/|/' "$dir/$name.profile"; fi
disks=$(lsblk -a -n -r -o MAJ:MIN,KNAME,SERIAL,WWN)
asked lvm pvs --foreign --nohints --noheadings -o pv_name,pv_major,pv_minor --config "$plain"
while read -r name major minor; do
  if [ ! -b "$name" ] || [ ! -r "/sys/dev/block/$major:$minor/size" ]; then continue; fi
  sys=/sys/dev/block/$major:$minor real=$name serial='' sector=512
  read -r size <"$sys/size"
  for queue in "$sys/queue" "$sys/../queue"; do
    if [ -r "$queue/logical_block_size" ]; then read -r sector <"$queue/logical_block_size"; break; fi
  done
  while read -r number kernel more; do
    [ "$number" != "$major:$minor" ] || real=/dev/$kernel serial=$more
  done <<DISKS
$disks
DISKS
  echo "device $real $sector $((size * 512)) $serial"
  [ "$real" = "$name" ] || echo "alias $name $real"
done <<PVS
$reply
PVS
all() {{
  {{
    timeout -s KILL {prelude.LVM_WAIT} lvm fullreport {how} {reports} --config "$plain" ||
      [ $? -ne 137 ] || printf '\nbusy yes\n'
  }} 2>&1 >&3 | sed 's/^ */said /'
}}
report=$(all 3>&1)
echo "$report"
[ -n "$vg" ] || exit 0
{HIDDEN}"""


def parse(text: str) -> Lvm | None:
    """Parse the fragment's output; None if LVM is not installed or was not queried.

    Each device has one name here, the kernel's, whichever name LVM prefers.
    """
    if not text.strip():
        return None
    said, profile, plain, report, devices = [], [], [], [], {}
    aliases: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("said "):
            said.append(line.removeprefix("said "))
        elif line.startswith("device "):
            _, device, sector, size, *serial = line.split()
            devices[device] = PhysicalDevice(int(sector), int(size), " ".join(serial))
        elif line.startswith("alias "):
            _, name, real = line.split()
            aliases[name] = real
        elif line.startswith("|"):
            profile.append(line[1:] + "\n")
        elif line.startswith(" "):
            report.append(line)
        else:
            plain.append(line)
    settings = dict(
        line.removeprefix("set ").split("=", 1) for line in plain if line.startswith("set ") and "=" in line
    )
    disks = [[*line.split()[1:], "", ""] for line in plain if line.startswith("hidden ")]
    found = lines("\n".join(plain))
    busy = "busy" in found
    parts = volume_group.report("\n".join(report)) if report and not busy else []
    for pv in (pv for part in parts for pv in part.get("pv", [])):
        pv["pv_name"] = aliases.get(pv["pv_name"], pv["pv_name"])
    matching = [part for part in parts if any(vg["vg_name"] == found["group"] for vg in part.get("vg", []))]
    physical = {pv["pv_name"]: pv["vg_name"] for part in parts for pv in part.get("pv", [])}
    return Lvm(
        settings={key: value.strip('"') for key, value in settings.items()},
        groups=tuple(map(volume_group.group, matching)),
        every=tuple(volume_group.group(part) for part in parts if part.get("vg")),
        system=found["system"],
        seed=found["seed"],
        devices=devices,
        physical=physical,
        uuids={pv["pv_name"]: pv["pv_uuid"] for part in parts for pv in part.get("pv", [])},
        profile="".join(profile) if "profile" in found else None,
        said=tuple(said),
        names=volume_group.names(parts),
        suspended=tuple(name for line in plain if line.startswith("suspended ") for name in line.split()[1:]),
        failed="" if report or busy or "suspended" in found else "; ".join(said) or "it printed no report",
        busy=busy,
        hidden={
            name: Hidden(uuid, group, group_uuid) for name, uuid, group_uuid, group, *_ in disks if name not in physical
        },
    )
