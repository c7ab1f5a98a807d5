"""Metadata is checked, backed up, damaged and restored; records that do not match; space that is given back.

One machine with both variants: the default containerd on a loop pool, the instance `two` on a disk. The tests of a
variant build on each other.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.machine import Machine
from tests.integration.remedy import hint_in, out

DISK = "/dev/disk/by-id/virtio-lab-disk"


@dataclass(frozen=True)
class Variant:
    """A pool, its containerd, and how its metadata is reached from outside."""

    pool: str
    options: tuple[str, ...]
    ctr: str
    units: str
    kept: str
    """Command that shows the metadata that a repair or a restore kept."""


LOOP = Variant(
    "containerd-pool",
    (),
    "ctr",
    "containerd devmapper-pool@containerd-pool",
    "ls /var/lib/containerd/devmapper | grep -c 'meta[.]2'",
)
DIRECT = Variant(
    "containerd--two-thinpool",
    ("--instance", "two"),
    "ctr --address /run/containerd-two/containerd.sock",
    "containerd-two devmapper-pool@containerd--two-thinpool",
    "lvs --noheadings -o lv_name containerd-two | grep -cE 'thinpool_(meta|before_)'",
)
both = pytest.mark.parametrize("of", [LOOP, DIRECT], ids=["loop", "direct"])


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, suite: str, golden: Golden) -> Iterator[Machine]:
    """A machine with a pool of each variant, and on each a container that has a file."""
    with started(request, suite, base=golden.disk) as machine:
        machine.fab("deploy", "--instance", "two", "--variant", "direct", "--device", DISK)
        for of in (LOOP, DIRECT):
            make(machine, of, "kept")
            machine.in_snapshot("kept", "echo still here >file", of.ctr)
        yield machine


def make(machine: Machine, of: Variant, name: str) -> None:
    """Make a container that does not run."""
    image = machine.ssh(f"{of.ctr} images ls -q").split()[0]
    machine.ssh(f"{of.ctr} containers create --snapshotter devmapper {image} {name}")


def damage(machine: Machine, of: Variant, blocks: str) -> None:
    """Write rubbish over blocks of 4 KiB of the metadata of a pool that is taken down for it.

    Args:
        machine: the machine.
        of: the pool.
        blocks: shell that sets `first` and `count`; a copy of the metadata is in `meta`.
    """
    machine.ssh(f"""set -e
        set -- $(dmsetup table {of.pool}_tmeta 2>/dev/null || echo 0 0 file /var/lib/containerd/devmapper/meta 0)
        case $3 in linear) to={DISK} ;; *) to=$4 ;; esac
        from=$5
        systemctl stop {of.units}
        meta=/root/meta
        dd if=$to of=$meta bs=512 skip=$from count=32768 status=none
        {blocks}
        dd if=/dev/urandom of=$to bs=512 seek=$((from + 8 * first)) count=$((8 * count)) conv=notrunc,fsync status=none
        rm -f /root/meta*
        echo 3 >/proc/sys/vm/drop_caches""")


ONE_BLOCK = """for first in $(seq 1 30); do
    cp $meta $meta.try
    dd if=/dev/urandom of=$meta.try bs=4096 seek=$first count=1 conv=notrunc status=none
    if ! thin_check $meta.try >/dev/null 2>&1; then break; fi
done
count=1"""
"""The first block after the superblock whose loss thin_check sees."""


def alive(machine: Machine, of: Variant) -> None:
    """The container still has its file, and containerd accepts the pool."""
    assert machine.in_snapshot("kept", "cat file", of.ctr) == "still here\n"
    assert re.search(r"snapshotter\.v1\s+devmapper\s+\S+\s+ok", machine.ssh(f"{of.ctr} plugins ls"))
    assert "sound (a snapshot of its live metadata)" in machine.fab("pool.check", *of.options)


def test_without_thin_check_nothing_is_started(machine: Machine) -> None:
    machine.ssh("mv /usr/sbin/thin_check /root/")
    said = machine.fab("pool.check", code=2)
    machine.ssh("mv /root/thin_check /usr/sbin/")
    assert "thin_check is missing on the host" in said
    assert "package: thin-provisioning-tools" in said


def test_inconsistencies_are_named_and_removed(machine: Machine) -> None:
    make(machine, LOOP, "lost")
    machine.ssh("sync")
    assert "they agree" in machine.fab("pool.fsck")
    # The newest thin device is that of `lost`. Its entry stays, and one that nobody knows of is made.
    table = machine.ssh("dmsetup table --target thin | grep ^containerd-pool-snap | sort -n -k 6 | tail -n 1").split()
    device, number = table[0].rstrip(":"), table[5]
    message = "dmsetup message containerd-pool 0"
    machine.ssh(f"dmsetup remove --retry {device}; {message} 'delete {number}'; {message} 'create_thin 4242'")
    machine.ssh("dmsetup create stray --table '0 2048 thin /dev/mapper/containerd-pool 4242'")
    said = machine.fab("pool.fsck", code=1)
    assert "thin id 4242: 0B in the pool, no entry in containerd's database" in said
    assert "device stray: thin id 4242, no entry in containerd's database" in said
    assert f"entry {device}: thin id {number} (Activated) is not in the pool" in said
    said = machine.fab("pool.fsck", "--fix", code=1)  # what containerd counts on is containerd's to remove
    assert "remove its image or container" in said
    assert "stray" not in machine.ssh("dmsetup ls")
    machine.ssh("ctr containers rm lost")
    assert "they agree" in machine.fab("pool.fsck")


def test_space_that_files_no_longer_use_is_returned(machine: Machine) -> None:
    machine.ssh("""set -e; mkdir -p /mnt/kept
        m=$(ctr snapshots --snapshotter devmapper mounts /mnt/kept kept); eval "${m%-o }"
        dd if=/dev/urandom of=/mnt/kept/big bs=1M count=48 status=none; sync; rm /mnt/kept/big; sync""")
    said = machine.fab("pool.trim")
    machine.ssh("umount /mnt/kept")
    used, file = (line for line in said.splitlines() if "→" in line)
    for line in (used, file):
        (less,) = re.findall(r"([0-9.]+)M less", line)
        assert float(less) > 40, line
    assert "used of the pool" in used
    assert "/var/lib/containerd/devmapper/data" in file


FAIL_A_COMMIT = f"""set -eu
pool={DIRECT.pool}
table() {{ dmsetup load ${{pool}}_tmeta; dmsetup suspend --noflush ${{pool}}_tmeta; dmsetup resume ${{pool}}_tmeta; }}
ctr={shlex.quote(DIRECT.ctr)}
mkdir -p /mnt/kept; m=$($ctr snapshots --snapshotter devmapper mounts /mnt/kept kept); eval "${{m%-o }}"
was=$(dmsetup table ${{pool}}_tmeta); set -- $was
modprobe dm-flakey
printf '0 8 linear %s %s\\n8 %s flakey %s %s 0 3600 1 error_writes\\n' $4 $5 $(($2 - 8)) $4 $(($5 + 8)) | table
dd if=/dev/zero of=/mnt/kept/big bs=1M count=8 conv=fsync status=none || true
echo "$was" | table
umount /mnt/kept
dmsetup status $pool"""
"""Writes to the metadata fail for a moment, except for those to its superblock, where the kernel notes that."""


def test_a_pool_that_needs_check_is_reported_and_repaired(machine: Machine) -> None:
    assert " ro " in (said := machine.ssh(FAIL_A_COMMIT)) and "needs_check" in said
    # The inventory knows only of the default containerd's loop pool.
    assert "read-only until it has been checked" in machine.fab("pool.status", *DIRECT.options)
    assert "read-only until it has been checked" in machine.fab("doctor", *DIRECT.options, code=1)
    grow = ("pool.grow", *DIRECT.options, "--size", "17G")
    assert "cannot grow before its metadata has been checked" in machine.fab(*grow, code=2)
    assert "needs_check" in machine.fab("pool.check", *DIRECT.options, code=1)
    assert "the old metadata: /" in machine.fab("pool.repair", *DIRECT.options)
    machine.fab(*grow)
    alive(machine, DIRECT)
    machine.ssh("lvremove -q -y containerd-two/thinpool_meta0")


AT_THE_SAME_TIME = f"""set -eu
cat >/root/slow <<'SH'
#!/bin/sh
sleep 3
exec thin_check "$@"
SH
cat >/usr/local/sbin/dmsetup <<'SH'
#!/bin/sh
/usr/sbin/dmsetup "$@"
code=$?
[ "$*" = 'info {DIRECT.pool}' ] && [ -x /root/slow ] || exit "$code"
systemd-run -q --collect vgchange -aay --config 'global/thin_check_executable="/root/slow"' containerd-two
until /usr/sbin/dmsetup info {DIRECT.pool}_tmeta; do sleep 0.1; done
mv /root/slow /root/slower
exit "$code"
SH
systemctl stop {DIRECT.units}
chmod +x /root/slow /usr/local/sbin/dmsetup
systemctl start {DIRECT.units} || {{ journalctl -b -n 20; exit 1; }}
rm /usr/local/sbin/dmsetup
dmsetup status {DIRECT.pool}"""
"""LVM begins to activate the pool, as it does at boot, just after the pool's unit has found that it is not active."""


@pytest.mark.parametrize("before", ["true", FAIL_A_COMMIT], ids=["sound", "needs_check"])
def test_a_pool_comes_up_while_lvm_activates_it(machine: Machine, before: str) -> None:
    machine.ssh(before)
    assert " rw " in (said := machine.ssh(AT_THE_SAME_TIME)) and "needs_check" not in said
    alive(machine, DIRECT)


@both
def test_a_damaged_block_is_found_and_repaired(machine: Machine, of: Variant) -> None:
    assert "sound (a snapshot of its live metadata)" in machine.fab("pool.check", *of.options)
    machine.fab("pool.backup", *of.options)
    damage(machine, of, ONE_BLOCK)
    said = machine.fab("pool.check", *of.options, code=1)
    assert "is damaged" in said
    assert "all of its metadata: the pool is down" in said
    said = machine.fab("pool.repair", *of.options, code=None)
    # Where a device's mappings are damaged, thin_repair 1.x gives up; earlier ones leave out what is damaged.
    if "no compatible roots found" in said:
        said = out(machine.fab, machine, hint_in(said).partition(": ")[2])
    assert "failed 0" in said and "the old metadata: /" in said
    assert machine.ssh(of.kept) == "1\n"
    alive(machine, of)
    assert "nothing to repair" in machine.fab("pool.repair", *of.options)


@both
def test_a_backup_of_another_pool_is_refused(machine: Machine, of: Variant) -> None:
    found = re.search(r"/\S+\.xml\.gz", machine.fab("pool.backup", *of.options))
    assert found
    there = "dmsetup table | sort; lvs --noheadings -o lv_name; ls /var/lib/containerd/devmapper"
    before = machine.ssh(there)
    for attribute in ("data_block_size", "nr_data_blocks"):
        other = f'sed \'1s/{attribute}="[0-9]*"/{attribute}="16777216"/\''
        machine.ssh(f"gzip -dc {found[0]} | {other} | gzip >/root/other.xml.gz")
        said = machine.fab("pool.restore", *of.options, "--from", "/root/other.xml.gz", "--yes", code=1)
        assert "/root/other.xml.gz is a backup of another pool: it has " in said
    other = f"{found[0].rpartition('/')[0]}-2/other.xml.gz"
    machine.ssh(f"mkdir {other.rpartition('/')[0]}; cp {found[0]} {other}")
    said = machine.fab("pool.restore", *of.options, "--from", other, "--yes", code=2)
    assert f"{other} is not a backup of" in said
    assert "is not a file" in machine.fab("pool.restore", *of.options, "--from", "/dev/zero", "--yes", code=1)
    machine.ssh(f"rm -r /root/other.xml.gz {other.rpartition('/')[0]}")
    assert machine.ssh(there) == before
    alive(machine, of)


@both
def test_metadata_beyond_repair_is_restored_from_a_backup(machine: Machine, of: Variant) -> None:
    said = machine.fab("pool.backup", *of.options)
    assert re.search(r"\.xml\.gz\n.*thin devices, sha256 [0-9a-f]{64}; [0-9] of at most 8 kept", said)
    assert "is sound" in machine.fab("pool.restore", *of.options, code=2)
    damage(machine, of, "first=0 count=4096")
    said = machine.fab("pool.repair", *of.options, code=1)
    assert re.search(r"hint: a backup may have \w+: fab -H \S+ pool\.restore", said)
    assert "what was written since is lost" in machine.fab("pool.restore", *of.options)
    assert int(machine.ssh(of.kept)) >= 2
    alive(machine, of)
