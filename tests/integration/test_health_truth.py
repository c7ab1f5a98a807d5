"""Health checks find a pool that takes no writes, is hidden from LVM, would not come up at boot, or does not grow.

One machine with the default pool on files and the pool of the instance `two` on a disk. Each test leaves both healthy
again, by the remedy that the message names. The letters with numbers are the rows of the review that found each case.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from time import monotonic

import pytest

from tests.integration import times
from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.machine import Machine, lvm_says, until
from tests.integration.test_instance import registry
from tests.unit import typed

TWO = "containerd--two-thinpool"
CTR = "ctr --address /run/containerd-two/containerd.sock"
MONITOR = "devmapper-pool-monitor@containerd-pool"
STOP = f"systemctl stop containerd-two devmapper-pool@{TWO}"
CONF = f"/etc/devmapper-pool/{TWO}.conf"


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, suite: str, golden: Golden) -> Iterator[Machine]:
    """A machine with both."""
    with started(request, suite, base=golden.disk, disks=["300M"]) as machine:
        device = "/dev/disk/by-id/virtio-lab-disk"
        machine.fab("deploy", "--instance", "two", "--variant", "direct", "--device", device)
        yield machine


def well(machine: Machine) -> None:
    """doctor exits with 0 and finds nothing wrong with either pool."""
    said = machine.fab("doctor")
    assert not re.search(r"^\S+ fail ", said, re.MULTILINE), said
    assert f"{TWO}: pool" in said


def told(machine: Machine, *task: str, code: int = 1) -> tuple[str, str]:
    """The output of a command that must fail, and the first remedy that it names."""
    said = machine.fab(*task, code=code)
    hints = re.findall(r"(?: fail .*\n.*→|hint:) (.*)", said)
    assert hints, said
    assert typed.wrong(hints[0]) == []
    return said, hints[0]


def test_both_pools_are_healthy_and_doctor_checks_both(machine: Machine) -> None:
    """N12: with several pools it looked at none."""
    well(machine)
    until(lambda: "s ago, to let it grow" in machine.fab("pool.status"), "was not looked at", 40)
    assert re.search(r"checked +\d+ ", machine.fab("pool.status", "--instance", "two"))


@pytest.mark.parametrize("options", [[], ["--instance", "two"]], ids=["loop", "direct"])
def test_a_suspended_pool(machine: Machine, options: list[str]) -> None:
    """G6."""
    name = TWO if options else "containerd-pool"
    machine.ssh(f"dmsetup suspend {name}")
    said, hint = told(machine, "doctor", *options)
    assert "it is suspended" in said
    assert told(machine, "deploy", *options, *(["--variant", "direct"] if options else []), code=2)[1] == hint
    machine.ssh(hint)
    well(machine)


def test_a_suspended_device_of_others(machine: Machine) -> None:
    """LVM would wait for it for ever, and so would whatever reads it."""
    machine.ssh("dmsetup create other --table '0 204800 zero' && dmsetup suspend other")
    said, hint = told(machine, "doctor", "--instance", "two")
    assert "LVM cannot be queried while other is suspended" in said
    said = machine.fab("pool.disks")
    assert said.count("it cannot be queried while other is suspended") >= 1
    assert "volume groups are not listed: LVM cannot be queried while other is suspended" in said
    volume = ["--name", "on-lv", "--dir", "/srv/on-lv", "--volume", "containerd-two/x", "--volume-size", "64M"]
    assert told(machine, "pool.loop", *volume, code=2)[1] == hint
    machine.ssh(f"{hint} && dmsetup remove other")
    well(machine)


def test_a_command_of_lvm_that_holds_a_lock(machine: Machine) -> None:
    machine.ssh("systemd-run -q --unit=holder flock /run/lock/lvm/V_containerd-two sleep 600")
    with lvm_says(machine, "global { wait_for_locks = 0 }"):  # it said at once that there is no such group
        said, hint = told(machine, "pool.check", "--instance", "two", code=2)
    assert "LVM did not answer within 60 s" in said and "lslocks" in hint
    assert "/run/lock/lvm/V_containerd-two" in machine.ssh("lslocks | grep /lvm/")
    machine.ssh("systemctl stop holder")
    well(machine)


FORMATS = """report { output_format = "json" compact_output = 1 prefixes = 1 list_item_separator = ";" }
log { command_names = 1 prefix = "-- " }"""


def test_reports_in_another_format(machine: Machine) -> None:
    """The pool was said to be gone, or its transaction id wrong, and its unit did not start."""
    with lvm_says(machine, FORMATS):
        well(machine)
        machine.fab("pool.check", "--instance", "two")
        machine.ssh(f"{STOP}; systemctl start devmapper-pool@{TWO} containerd-two")
        machine.fab("pool.check", "--instance", "two")
    well(machine)


def test_a_configuration_of_lvm_that_cannot_be_read(machine: Machine) -> None:
    with lvm_says(machine, "activation { volume_list = [ }"):
        said, hint = told(machine, "doctor", "--instance", "two")
        assert "LVM does not report: Parse error" in said and "lvmlocal.conf" in hint
        assert "LVM does not report" in machine.fab("pool.reset", "--instance", "two", "--yes", code=2)
    well(machine)


def test_a_pool_that_accepts_no_writes(machine: Machine) -> None:
    """N11: deploy found nothing to do."""
    machine.ssh(f"""set -e
        t=$(dmsetup table {TWO}); set -- $t
        dmsetup reload {TWO} --table "$1 $2 $3 $4 $5 $6 $7 2 skip_block_zeroing read_only"; dmsetup resume {TWO}""")
    said, hint = told(machine, "doctor", "--instance", "two")
    assert "read-only: writes fail" in said
    assert "is not healthy" in machine.fab("deploy", "--instance", "two", "--variant", "direct", code=2)
    assert "read-only" in machine.fab("pool.direct", "--instance", "two", code=2)
    machine.ssh(hint.partition(": ")[2].partition("; where that fails")[0])
    well(machine)


def test_a_group_that_the_devices_file_leaves_out(machine: Machine) -> None:
    """G1: doctor was content, two of its lines had vanished."""
    other = machine.disk(2)
    with lvm_says(machine, "devices { use_devicesfile = 1 }"):
        machine.ssh(f"pvcreate -q -y --devices {other} {other}; lvm lvmdevices --adddev {other}")
        said, hint = told(machine, "doctor")
        assert "it is not in /etc/lvm/devices/system.devices" in said
        assert hint == f"lvm lvmdevices --adddev {machine.disk(1)}"
        assert "is not healthy" in machine.fab("deploy", "--instance", "two", "--variant", "direct", code=2)
        machine.ssh(hint)
        well(machine)
    machine.ssh(f"rm -r /etc/lvm/devices; pvremove -q -y {other}")


def test_a_group_that_a_filter_leaves_out(machine: Machine) -> None:
    """G1."""
    with lvm_says(machine, f'devices {{ global_filter = ["r|{machine.disk(1)}|"] }}'):
        said, hint = told(machine, "doctor")
        assert re.search(rf"lvm.conf says global_filter = .*r.{machine.disk(1)}", said)
        assert f"a|^{machine.disk(1)}$|" in hint
    well(machine)


def test_a_volume_list_without_the_pool(machine: Machine) -> None:
    """G2: at boot its unit said that it is active under another name."""
    with lvm_says(machine, 'activation { volume_list = ["other"] }'):
        assert 'add "containerd-two/thinpool" to volume_list' in told(machine, "doctor")[1]
        machine.ssh(
            f"systemctl stop containerd-two devmapper-pool@{TWO}; systemctl start devmapper-pool@{TWO}", code=None
        )
        said = machine.fab("doctor", "--instance", "two", code=1)
        assert "LVM leaves containerd-two/thinpool out" in said
        assert "it is down: its unit failed (exit-code)" in said
    machine.ssh(f"systemctl reset-failed; systemctl start devmapper-pool@{TWO} containerd-two")
    well(machine)


OLD = 'global/system_id_source="lvmlocal" local/system_id="old"'

FORBIDDEN = """activation { volume_list = [ "containerd-two/thinpool" ] }
global { thin_check_executable = "" thin_repair_executable = "" }"""


DAMAGED = """meta=containerd-two/thinpool_tmeta; dev=/dev/$meta
lvchange -q -ay -y --config 'activation/volume_list=["containerd-two"]' $meta
n=$(dmsetup info -c --noheadings -o name $dev); dmsetup table $n | dmsetup reload $n; dmsetup resume $n
for first in $(seq 1 30); do
  dd if=$dev of=/root/block bs=4096 skip=$first count=1 status=none
  dd if=/dev/urandom of=$dev bs=4096 seek=$first count=1 conv=notrunc,fsync status=none
  thin_check $dev >/dev/null 2>&1 || break
  dd if=/root/block of=$dev bs=4096 seek=$first count=1 conv=notrunc,fsync status=none
done
rm /root/block; lvchange -an $meta"""
"""The first block after the superblock whose loss is seen."""


def test_maintenance_whatever_lvm_conf_forbids_lvm(machine: Machine) -> None:
    """Sound metadata was called damaged, as LVM does not activate it by itself."""
    two = ("--instance", "two")
    with lvm_says(machine, FORBIDDEN):
        machine.fab("pool.backup", *two)
        for task in (["pool.trim", "--offline"], ["pool.restore", "--yes"]):
            machine.fab(*task, *two)
        machine.ssh(STOP)
        assert "sound (all of its metadata: the pool is down)" in machine.fab("pool.check", *two)
        machine.ssh(DAMAGED)
        assert "is damaged" in machine.fab("pool.check", *two, code=1)
        machine.fab("pool.repair", *two)
    machine.fab("pool.kept", *two, "--keep", "0")
    well(machine)


@pytest.mark.parametrize(
    ("make", "says", "way"),
    [
        ("vgexport -q containerd-two", "the volume group containerd-two is exported", "vgimport"),
        (
            f"vgchange -q -y --config {shlex.quote(OLD)} --systemid old containerd-two",
            "the volume group containerd-two belongs to the host 'old', and this host has no system ID",
            "vgchange",
        ),
    ],
    ids=["exported", "foreign"],
)
def test_a_group_that_lvm_leaves_alone(machine: Machine, make: str, says: str, way: str) -> None:
    machine.ssh(f"{STOP}; {make}")
    said, hint = told(machine, "doctor", "--instance", "two")
    assert says in said and way in hint
    assert says in machine.fab("pool.check", "--instance", "two", code=2)
    machine.ssh(f"{hint.rpartition('on the host: ')[2]}; systemctl start devmapper-pool@{TWO} containerd-two")
    well(machine)


def test_a_disk_that_came_back(machine: Machine) -> None:
    """The advice was to bring it back."""
    other = machine.disk(2)
    machine.ssh(f"""set -e
        pvcreate -q -y {other}; vgextend -q containerd-two {other}
        lvcreate -q -an -n other -l 1 containerd-two {other}
        lvcreate -q -an -n gone -l 1 containerd-two {machine.disk(1)}
        lvremove -q -y --config 'devices {{ filter = ["r|{other}|"] }}' containerd-two/gone""")
    said = machine.fab("doctor", "--instance", "two")
    assert f"LVM counts {other} of containerd-two as missing, as the group was changed without it" in said
    machine.ssh(said.partition("if nothing else has written to it: ")[2].partition("\n")[0])
    well(machine)
    machine.ssh(f"lvremove -q -y containerd-two/other; vgreduce -q containerd-two {other}; pvremove -q {other}")


def test_an_lvm_that_monitors_nothing(machine: Machine) -> None:
    """The advice was to install dmeventd, or to restart its socket."""
    with lvm_says(machine, "activation { monitoring = 0 }"):
        machine.ssh(f"systemctl stop containerd-two; systemctl restart devmapper-pool@{TWO}", code=1)
        said = machine.fab("doctor", "--instance", "two", code=1)
        assert "so the pool would not grow: lvm.conf says activation/monitoring = 0" in said
        assert "→ set it to 1 in /etc/lvm/lvm.conf; then on the host: systemctl restart dm-event.socket" in said
    machine.ssh(f"systemctl start devmapper-pool@{TWO} containerd-two")
    well(machine)


def test_a_copy_of_the_disk(machine: Machine) -> None:
    """G3: doctor was content, and deploy offered the pool its own disk."""
    one, copy = machine.disk(1), machine.disk(2)
    # LVM notices a disk that is attached by its new name; this one had its name before.
    machine.ssh(f"dd if={one} of={copy} bs=1M count=4 conv=fsync status=none; udevadm settle; rm -f /run/lvm/hints")
    said, hint = told(machine, "doctor")
    assert "two disks have one identity" in said
    assert "vgimportclone" in hint
    machine.fab("deploy", "--instance", "two", "--variant", "direct", code=2)
    machine.ssh(f"dd if=/dev/zero of={copy} bs=1M count=4 conv=fsync status=none; udevadm settle; rm -f /run/lvm/hints")
    well(machine)


@pytest.mark.parametrize("rename", ["lvrename containerd-two thinpool other", "vgrename containerd-two new"])
def test_a_pool_under_another_name(machine: Machine, rename: str) -> None:
    """G4: it was said to be gone."""
    uuid = machine.ssh("lvs --noheadings -o lv_uuid containerd-two/thinpool").strip()
    machine.ssh(f"grep -q ^LV_UUID= {CONF} || echo LV_UUID={uuid} >>{CONF}")
    machine.ssh(f"{STOP}; {rename}")
    said, hint = told(machine, "doctor", "--instance", "two")
    assert "containerd-two/thinpool is now called" in said
    machine.ssh(f"{hint} && systemctl start devmapper-pool@{TWO} containerd-two")
    well(machine)


def test_another_volume_of_the_same_names(machine: Machine) -> None:
    """As on a disk of another host: containerd would have used its devices, and deleted those that it does not know."""
    other, unit = machine.disk(2), f"devmapper-pool@{TWO}"
    machine.ssh(f"""{STOP}; vgrename -q containerd-two aside; vgcreate -q containerd-two {other}
        lvcreate -q -y --type thin-pool --zero n -c 512K -L 100M --poolmetadatasize 4M -n thinpool containerd-two""")
    machine.ssh(f"systemctl start {unit}", code=1)
    machine.ssh("systemctl start containerd-two", code=1)
    said, _ = told(machine, "doctor", "--instance", "two")
    assert f"containerd-two/thinpool on {other} is another volume than the recorded one" in said
    assert "the pool's own is called aside/thinpool now" in said
    assert "pool.fsck" not in said
    for task in ("pool.check", "pool.repair", "pool.trim"):
        assert "is another volume" in machine.fab(task, "--instance", "two", code=2)
    machine.ssh(f"""vgremove -q -y containerd-two; wipefs -q -a {other}; vgrename -q aside containerd-two
        systemctl start {unit} containerd-two""")
    well(machine)


def test_a_disk_that_is_gone(machine: Machine) -> None:
    """N12: the metadata was blamed, and repair advised."""
    disk = machine.disk(1)
    machine.ssh(f"""{STOP}
        dd if={disk} of=/root/label bs=512 count=8 status=none
        dd if=/dev/zero of={disk} bs=512 count=8 conv=fsync status=none; udevadm settle""")
    said, hint = told(machine, "doctor")
    assert "LVM knows no volume group containerd-two" in said
    assert "lab-disk" in said, "the disk that is missing"
    assert hint.startswith("bring its disks back")
    assert "is down" in machine.fab("pool.status", "--instance", "two", code=1)
    machine.ssh(f"dd if=/root/label of={disk} conv=fsync status=none; udevadm settle; rm /root/label")
    machine.ssh(f"systemctl restart devmapper-pool@{TWO} && systemctl start containerd-two")
    well(machine)


def test_what_is_masked_stays_masked(machine: Machine) -> None:
    """G10, N21: a deploy unmasked it without a word."""
    for unit, path in (("containerd.service", "/etc/systemd/system"), (f"{MONITOR}.timer", "/etc/systemd/system")):
        machine.ssh(f"""systemctl stop {unit}; mv {path}/{unit} /root/kept; systemctl mask {unit}""")
        said, hint = told(machine, "doctor")
        assert f"{unit} is masked" in said
        assert hint == f"systemctl unmask {unit}"
        assert told(machine, "deploy", code=2)[1] == hint
        assert machine.ssh(f"readlink {path}/{unit}") == "/dev/null\n"
        machine.ssh(f"{hint}; mv /root/kept {path}/{unit}; systemctl daemon-reload")
        machine.fab("deploy")
        well(machine)


def test_a_monitor_that_fails_is_seen(machine: Machine) -> None:
    """N21: its timer runs, the pool does not grow."""
    drop_in = f"/etc/systemd/system/{MONITOR}.service.d"
    machine.ssh(
        f"""systemctl start {MONITOR}.service; mkdir {drop_in}
        printf '[Service]\\nExecStart=\\nExecStart=/bin/sh -c "echo it is broken >&2; exit 3"\\n' \
        >{drop_in}/x.conf; systemctl daemon-reload; systemctl start {MONITOR}.service""",
        code=None,
    )
    why = f"{MONITOR}.service fails (exit-code): it is broken: the pool does not grow by itself; it last looked"
    # It fails again every ten seconds, and for a moment the journal does not have the last line of the new run yet.
    until(lambda: why in machine.fab("doctor", code=None), "was not seen", 60)
    assert "it is broken" in machine.fab("pool.loop", code=1), "a change is verified by what runs afterwards"
    machine.ssh(f"systemctl stop {MONITOR}.timer; rm -r {drop_in}; systemctl daemon-reload")
    assert "run its monitor again, as the last run failed" in machine.fab("pool.loop")
    well(machine)


def test_dmeventd_that_was_killed_is_seen(machine: Machine) -> None:
    """N21."""
    machine.ssh("kill -9 $(cat /run/dmeventd.pid); sleep 1")
    said, hint = told(machine, "doctor")
    assert "not monitored" in said
    machine.ssh(hint)
    well(machine)


def test_a_full_run_directory_ends_within_limits_and_is_reported(machine: Machine) -> None:
    """N21: the monitor waited for ever for udev and held the pool's lock."""
    shown = machine.ssh(f"systemctl show -p TimeoutStartUSec {MONITOR}.service devmapper-pool@containerd-pool").split()
    assert "TimeoutStartUSec=infinity" not in shown
    machine.ssh("dd if=/dev/zero of=/run/filler bs=4k 2>/dev/null", code=None)
    said, hint = told(machine, "doctor")
    machine.ssh("rm /run/filler")
    assert "udev" in said
    assert hint.startswith("see du -xh /run")
    well(machine)


def test_a_held_lock_names_its_holder(machine: Machine) -> None:
    """N21: "is being changed by another process"."""
    machine.ssh("sed -i 's/POOL_WAIT:-60/POOL_WAIT:-1/' /usr/local/libexec/devmapper-pool")
    lock = "/run/devmapper-pool/containerd-pool.lock"
    machine.ssh(f"(flock 9; exec sleep 77) 9>>{lock} >/dev/null 2>&1 & echo $! >/root/pid; sleep 1")
    said = machine.ssh("/usr/local/libexec/devmapper-pool settle containerd-pool", code=1)
    assert re.search(r"has been held for 1 s by process \d+, sleep 77 , \d+ s old", said), said
    machine.ssh("kill $(cat /root/pid); rm /root/pid")
    machine.fab("pool.loop")


def run(machine: Machine, ctr: str, name: str) -> None:
    """A container on devmapper that writes, and does not end when it is asked to."""
    image = f"{registry(machine)}/library/busybox:latest"
    write = "while :; do dd if=/dev/zero of=/f bs=64k count=100 conv=notrunc 2>/dev/null; done"
    machine.ssh(f"{ctr} images pull --plain-http --snapshotter devmapper {image}")
    machine.ssh(f"{ctr} run -d --snapshotter devmapper {image} {name} sh -c {shlex.quote(write)}")


def test_a_refusal_ends_with_2(machine: Machine) -> None:
    """G12."""
    run(machine, "ctr", "writes-a")
    said, hint = told(machine, "pool.trim", "--offline", code=2)
    assert "container writes-a runs, in the namespace default" in said
    assert f"fab -H {machine.vm.name} pool.trim --offline --force" in hint


def test_every_hint_is_about_the_pool_that_it_was_given_for(machine: Machine) -> None:
    """N22: typed as shown they acted on the default pool."""
    hints = set[str]()
    for task in (
        ["pool.grow", "--instance", "two", "--size", "1G"],
        ["pool.reset", "--instance", "two"],
        ["pool.direct", "--instance", "two", "--data-percent", "50"],
        ["pool.loop", "--instance", "two", "--size", "1G"],
        ["pool.restore", "--instance", "two"],
        ["pool.grow", "--name", TWO],
        ["pool.reset", "--name", TWO],
        ["pool.loop", "--size", "120G"],
        ["pool.check", "--name", "none"],
    ):
        hints |= {
            line.partition("hint: ")[2] for line in machine.fab(*task, code=None).splitlines() if "hint: " in line
        }
    commands = {command for hint in hints for command in typed.commands(hint)}
    assert len(commands) >= 6
    assert sum("--instance two" in command or TWO in command for command in commands) >= 4
    before = machine.ssh("dmsetup table | sort; ls /etc/devmapper-pool")
    for command in commands:
        host, *words = shlex.split(command)[2:]
        assert host == machine.vm.name
        said = machine.fab("--dry", *words, code=None)
        wrong = [sign for sign in ("Traceback", "no task ", "has no option", "needs ", "Usage:") if sign in said]
        assert not wrong, f"{command}\n{said}"
    assert machine.ssh("dmsetup table | sort; ls /etc/devmapper-pool") == before


FAILED = "^(devmapper-pool|containerd|blk-avail).*(Failed|timed out)"
"""systemd's journal messages about one of our units that did not stop."""


def test_a_pool_is_stopped_in_order_under_writing_containers(machine: Machine, request: pytest.FixtureRequest) -> None:
    """N23, F18: the unit failed, and leftover processes delayed it for minutes until every limit ran out."""
    machine.ssh("mkdir -p /var/log/journal; systemctl restart systemd-journald")
    for turn in range(int(request.config.getoption("--rounds"))):
        for ctr, name in (("ctr", f"shut-{turn}-a"), (CTR, f"shut-{turn}-b")):
            run(machine, ctr, name)
        since = machine.ssh("date +%s").strip()
        begin = monotonic()
        machine.reboot()
        times.note("reboot", "under containers that write", monotonic() - begin)
        assert machine.ssh(f"journalctl -q -b -1 --since @{since} -o cat | grep -E '{FAILED}'", code=None) == ""
        assert machine.ssh("systemctl --failed --plain --no-legend") == ""
        well(machine)
