"""What is under a loop pool: the logical volume that its directory is on, and the loop devices on its files."""

from __future__ import annotations

import msgspec

from fabfile.facts.lvm import ALL_DEVICES
from fabfile.facts.prelude import LVM_WAIT

LOOPS = r"""
# A deleted file is still in use by its device.
set -- /sys/block/loop*/loop
if [ -d "$1" ]; then
  echo "directory $(cd -P "$dir" 2>/dev/null && pwd || echo "$dir")"
  while read -r l back inode path; do
    # A file on a dead file system has neither device nor inode, and its path takes their place.
    case $back in '' | *[!0-9:]*) continue ;; esac
    read -r sectors <"/sys/dev/block/$l/size" && echo "loop $l $back $inode $sectors $path"
  done <<LOOPS
$(losetup -n -O MAJ:MIN,BACK-MAJ:MIN,BACK-INO,BACK-FILE)
LOOPS
fi
"""
"""Shell: print all loop devices, if there are any, and the directory `$dir` as the kernel names it."""

VOLUME = r"""
[ -z "${VOLUME-}" ] || volume=$VOLUME
[ -n "$volume" ] && command -v lvs >/dev/null || exit 0
[ -z "$suspended" ] || { echo "suspended$suspended"; exit 0; }
asked vgs --noheadings --nosuffix --units b -o vg_free,vg_extent_size "${volume%/*}" --config "$plain"
group=$reply
echo "group $group"
if [ -z "$group" ]; then
  all='@ALL_DEVICES@'
  asked pvs --noheadings -o pv_name -S "vg_name=${volume%/*}" --config "$all $plain"
  # shellcheck disable=SC2086 # their words
  echo hidden $reply
  set -- devices/use_devicesfile devices/devicesfile devices/filter devices/global_filter
  echo "hides $(lvmconfig --typeconfig full "$@" 2>/dev/null | tr -d ' \t' | tr '\n' ' ')"
fi
asked lvs --noheadings --nosuffix --units b -o lv_size,lv_uuid,lv_attr,lv_tags "$volume" --config "$plain"
found=$reply
echo "volume $found"
against() {
  said=$(timeout -s KILL @LVM_WAIT@ lvm "$@" 2>&1 </dev/null) ||
    case $? in
      137) echo "busy yes"; exit 0 ;;
      *) echo "against $(echo "$said" | sed '/TEST MODE/d' | tail -n 1)" ;;
    esac
}
# What LVM says against creating it: the group is exported, misses disks, or has a name that is not unique. Or else what
# it says against activating it, such as that there is a copy of a disk.
# shellcheck disable=SC2086 # its words
set -- $found
if [ -n "$group" ] && [ $# -eq 0 ]; then
  against lvcreate --test -y -l 1 -n "${volume#*/}" "${volume%/*}"
elif [ -n "$group" ]; then
  case $3 in ????a*) ;; *) against lvchange --test -ay "$volume" ;; esac
fi
id=$(echo "${VOLUME_UUID-}" | tr -d -)
if [ -z "$found" ] && [ -n "$id" ]; then
  asked lvs --noheadings -o vg_name,lv_name -S "lv_uuid=$VOLUME_UUID" --config "$plain"
  # shellcheck disable=SC2086 # its words
  echo renamed $reply
  # If a disk vanished, LVM no longer knows the volume, but the kernel still has its device.
  dmsetup info -c --noheadings --separator ' ' -o major,minor,name,uuid 2>/dev/null |
    while read -r major minor dev uuid; do case $uuid in LVM-*"$id") echo "left $dev $major:$minor" ;; esac; done
fi
if [ -e "/dev/$volume" ]; then
  echo "filesystem $(blkid -p -s TYPE -o value "/dev/$volume" 2>/dev/null)"
  echo "filesystem_uuid $(blkid -p -s UUID -o value "/dev/$volume" 2>/dev/null)"
fi
# A link in /dev vanishes together with its disk; the mount stays.
mapped=/dev/mapper/$(echo "$volume" | sed 's/-/--/g; s,/,-,')
echo "mounted $({ findmnt -n -o TARGET -S "/dev/$volume" || findmnt -n -o TARGET -S "$mapped"; } | head -n 1)"
"""
VOLUME = VOLUME.replace("@ALL_DEVICES@", ALL_DEVICES).replace("@LVM_WAIT@", str(LVM_WAIT))
"""Shell, the last part: print the volume in the pool's record, or else `$volume`."""

DELETED = " (deleted)"
"""What the kernel appends to the path of a deleted file."""


class Loop(msgspec.Struct, frozen=True):
    """A loop device on a file that is, or was, at the path of one of the pool's files."""

    number: str
    """Device number, such as `7:1`."""
    size: int
    file: str
    deleted: bool
    """Whether the file was deleted; its content exists as long as the device."""
    device: str
    """Number of the device with the file's file system."""
    inode: int

    @property
    def path(self) -> str:
        """Path of its device node."""
        return f"/dev/loop{self.number.partition(':')[2]}"


class BackingVolume(msgspec.Struct, frozen=True):
    """The logical volume under the directory, as far as it exists."""

    group_free: int | None = None
    """Free bytes in the volume group; None if there is no such group."""
    size: int | None = None
    filesystem: str = ""
    mounted: str = ""
    extent: int = 1
    """Bytes in an extent of the group."""
    uuid: str = ""
    attr: str = ""
    """Attributes as lvs shows them: the fifth is `a` for an active volume, the ninth `p` if a disk is missing."""
    tags: tuple[str, ...] = ()
    filesystem_uuid: str = ""
    left: tuple[str, ...] = ()
    """Name and number of the recorded volume's device, if the kernel still has it and LVM does not know the volume."""

    against: str = ""
    """What LVM says against creating it, if it does not exist, or else against activating it, if it is not active."""
    renamed: str = ""
    """`VG/LV` of the recorded volume, if it has been renamed."""
    hidden: tuple[str, ...] = ()
    """Disks of the group, if LVM's devices file or filters hide them, and thereby the group."""
    hides: dict[str, str] = {}
    """LVM's settings for devices file and filters, if the group is not found."""
    suspended: tuple[str, ...] = ()
    """Suspended devices, for which LVM would hang; if there are any, it was not queried."""
    busy: bool = False
    """LVM took too long to answer, so that what the other fields lack may exist."""

    @property
    def active(self) -> bool:
        """Whether it can be read."""
        return self.attr[4:5] == "a"

    @property
    def partial(self) -> bool:
        """Whether one of its disks is missing."""
        return self.attr[8:9] == "p"


def loop(values: list[str]) -> Loop:
    """Parse a line: number of the device, device and inode of its file, sectors, path of the file."""
    number, device, inode, sectors, *path = values
    file = " ".join(path)
    return Loop(number, int(sectors) * 512, file.removesuffix(DELETED), file.endswith(DELETED), device, int(inode))


def on(loops: list[Loop], number: str, path: str) -> Loop | None:
    """Return the device with this number, as in the table of an active pool, or else the one on the file at `path`."""
    if number:
        return next((loop for loop in loops if loop.number == number), None)
    return next((loop for loop in loops if loop.file == path), None)


def volume(found: dict[str, list[str]]) -> BackingVolume:
    """Build the volume from the output of `VOLUME`, key → words."""
    group, words = found.get("group", []), found.get("volume", [])
    size, uuid, attr, tags, *_ = [*words, "", "", "", ""]
    return BackingVolume(
        group_free=int(group[0]) if group else None,
        size=int(size) if size else None,
        filesystem=" ".join(found.get("filesystem", [])),
        mounted=" ".join(found.get("mounted", [])),
        extent=int(group[1]) if group[1:] else 1,
        uuid=uuid,
        attr=attr,
        tags=tuple(filter(None, tags.split(","))),
        against=" ".join(found.get("against", [])),
        filesystem_uuid=" ".join(found.get("filesystem_uuid", [])),
        left=tuple(found.get("left", [])),
        renamed="/".join(found.get("renamed", [])),
        hidden=tuple(found.get("hidden", [])),
        suspended=tuple(found.get("suspended", [])),
        busy="busy" in found,
        hides={key: value.strip('"') for key, _, value in (each.partition("=") for each in found.get("hides", []))},
    )
