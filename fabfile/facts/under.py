"""What is under a pool's files, and on them: the logical volume of their directory, and the loop devices."""

from __future__ import annotations

import msgspec

from fabfile.facts.lvm import ALL_DEVICES

LOOPS = r"""
# A file that was deleted is still what its device is on.
set -- /sys/block/loop*/loop
if [ -d "$1" ]; then
  echo "directory $(cd -P "$dir" 2>/dev/null && pwd || echo "$dir")"
  losetup -n -O MAJ:MIN,BACK-MAJ:MIN,BACK-INO,BACK-FILE | while read -r l back inode path; do
    read -r sectors <"/sys/dev/block/$l/size"
    echo "loop $l $back $inode $sectors $path"
  done
fi
"""
"""Shell: all loop devices, where there are any, and the directory `$dir` as the kernel names it."""

VOLUME = r"""
[ -z "${VOLUME-}" ] || volume=$VOLUME
[ -n "$volume" ] && command -v lvs >/dev/null || exit 0
group=$(vgs --noheadings --nosuffix --units b -o vg_free,vg_extent_size "${volume%/*}" 2>/dev/null)
echo "group $group"
if [ -z "$group" ]; then
  all='@ALL_DEVICES@'
  # shellcheck disable=SC2046 # their words
  echo hidden $(pvs --noheadings -o pv_name -S "vg_name=${volume%/*}" --config "$all" 2>/dev/null)
  set -- devices/use_devicesfile devices/devicesfile devices/filter devices/global_filter
  echo "hides $(lvmconfig --typeconfig full "$@" 2>/dev/null | tr -d ' \t' | tr '\n' ' ')"
fi
found=$(lvs --noheadings --nosuffix --units b -o lv_size,lv_uuid,lv_attr,lv_tags "$volume" 2>/dev/null)
echo "volume $found"
# What LVM would say against making it: of a group that is exported, misses disks, or has a name twice.
if [ -n "$group" ] && [ -z "$found" ]; then
  said=$(lvm lvcreate --test -y -l 1 -n "${volume#*/}" "${volume%/*}" 2>&1 </dev/null) ||
    echo "against $(echo "$said" | sed '/TEST MODE/d' | tail -n 1)"
fi
id=$(echo "${VOLUME_UUID-}" | tr -d -)
if [ -z "$found" ] && [ -n "$id" ]; then
  # shellcheck disable=SC2046 # its words
  echo renamed $(lvs --noheadings -o vg_name,lv_name -S "lv_uuid=$VOLUME_UUID" 2>/dev/null)
  # Of a disk that vanished under it LVM knows nothing any more; the kernel has the volume until it is taken away.
  dmsetup info -c --noheadings --separator ' ' -o major,minor,name,uuid 2>/dev/null |
    while read -r major minor dev uuid; do case $uuid in LVM-*"$id") echo "left $dev $major:$minor" ;; esac; done
fi
if [ -e "/dev/$volume" ]; then
  echo "filesystem $(blkid -p -s TYPE -o value "/dev/$volume" 2>/dev/null)"
  echo "filesystem_uuid $(blkid -p -s UUID -o value "/dev/$volume" 2>/dev/null)"
fi
# The link in /dev goes with a disk that vanishes; the mount stays.
mapped=/dev/mapper/$(echo "$volume" | sed 's/-/--/g; s,/,-,')
echo "mounted $({ findmnt -n -o TARGET -S "/dev/$volume" || findmnt -n -o TARGET -S "$mapped"; } | head -n 1)"
"""
VOLUME = VOLUME.replace("@ALL_DEVICES@", ALL_DEVICES)
"""Shell, the last of its script: the volume in the pool's settings, or else `$volume`."""

DELETED = " (deleted)"
"""What the kernel says behind the path of a file without a name."""


class Loop(msgspec.Struct, frozen=True):
    """A loop device on a file that is, or was, at the path of one of the pool's."""

    number: str
    """Its device number, `7:1`."""
    size: int
    file: str
    deleted: bool
    """Whether that file has no name any more: what is in it lives as long as the device."""
    device: str
    """Device number of the file system that the file is on."""
    inode: int

    @property
    def path(self) -> str:
        """Its device node."""
        return f"/dev/loop{self.number.partition(':')[2]}"


class Volume(msgspec.Struct, frozen=True):
    """The logical volume under the directory, as far as it is there."""

    group_free: int | None = None
    """Bytes; None where there is no such volume group."""
    size: int | None = None
    filesystem: str = ""
    mounted: str = ""
    extent: int = 1
    """Bytes, of the group."""
    uuid: str = ""
    attr: str = ""
    """As lvs shows it: the fifth character is `a` for an active volume, the ninth `p` for one that misses a disk."""
    tags: tuple[str, ...] = ()
    filesystem_uuid: str = ""
    left: tuple[str, ...] = ()
    """Name and number of the recorded volume's device, where the kernel has it and LVM knows no such volume."""

    against: str = ""
    """What LVM says against making it, where it does not exist."""
    renamed: str = ""
    """`VG/LV` of the recorded volume, where that has another name by now."""
    hidden: tuple[str, ...] = ()
    """Disks of the group, where LVM's devices file or filters hide them, and so the group."""
    hides: dict[str, str] = {}
    """What LVM's configuration says of devices file and filters, where the group is not seen."""

    @property
    def active(self) -> bool:
        """Whether it can be read."""
        return self.attr[4:5] == "a"

    @property
    def partial(self) -> bool:
        """Whether one of its disks is missing."""
        return self.attr[8:9] == "p"


def loop(values: list[str]) -> Loop:
    """What a line says: its number, device and inode of its file, sectors, path of the file."""
    number, device, inode, sectors, *path = values
    file = " ".join(path)
    return Loop(number, int(sectors) * 512, file.removesuffix(DELETED), file.endswith(DELETED), device, int(inode))


def on(loops: list[Loop], number: str, path: str) -> Loop | None:
    """The device of that number, which a pool that is up has; or else one that is left on the file."""
    if number:
        return next((loop for loop in loops if loop.number == number), None)
    return next((loop for loop in loops if loop.file == path), None)


def volume(found: dict[str, list[str]]) -> Volume:
    """The volume in the lines of VOLUME, key → words."""
    group, words = found.get("group", []), found.get("volume", [])
    size, uuid, attr, tags, *_ = [*words, "", "", "", ""]
    return Volume(
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
        hides={key: value.strip('"') for key, _, value in (each.partition("=") for each in found.get("hides", []))},
    )
