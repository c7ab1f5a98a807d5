"""Who has a pool's devices open, in a real shell, with device mapper's program replaced."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from fabfile.facts.record import LoopRecord
from fabfile.instance import Daemon
from fabfile.pool.maintain.actions import ManagedPool
from fabfile.render import render

DMSETUP = r"""
case "$*" in
  *"blkdevname gone" | *"open gone" | *"minor gone" | "table gone" | "info gone" | *"remove"*gone)
    echo 'Device does not exist.' >&2
    exit 1
    ;;
  *"-o open "*) echo 1 ;;
  *"-o blkdevname "*) echo dm-99999 ;;
  *"-o major,minor "*) echo 253:99999 ;;
esac
"""
"""All devices but `gone` exist, and are open."""

THINS = "thins() { printf '%s\\n' 'gone 1 thin' 'there 2 thin'; }\n"


def run(script: str, place: Path) -> str:
    """Run shell with the functions of a pool, as a change is run; return what it printed."""
    (place / "dmsetup").write_text(f"#!/bin/sh\n{DMSETUP}")
    (place / "dmsetup").chmod(0o755)
    record = LoopRecord(data="/d/data", meta="/d/meta", block_sectors=128, asked_bytes=(1,), asked_meta_bytes=(1,))
    pool = ManagedPool("pool", Daemon(), record, "/d")
    parts = [render(f"pool/{name}.sh.j2", pool=pool, daemon=Daemon()) for name in ("common", "held")]
    done = subprocess.run(
        ["sh", "-euc", f"PATH={place}:$PATH\n{''.join(parts)}{THINS}{script}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_a_device_that_was_removed_since_it_was_listed_is_not_open_and_hides_no_other(tmp_path: Path) -> None:
    said = run('said=$(held)\necho "$said"', tmp_path)
    assert said == "held: there is open, and no process, mount or device shows who uses it: only a reboot releases it\n"


def test_a_device_that_was_removed_meanwhile_does_not_keep_the_pool_up(tmp_path: Path) -> None:
    dmsetup = """
case $* in
  table) echo 'pool-snap-1: 0 8 thin 253:99999 1' ;;
  *snap*) exit 1 ;;
  *major,minor*) echo 253:99999 ;;
  *) echo "$*" >>called ;;
esac
"""
    for name, text in {"dmsetup": dmsetup, "losetup": "", "systemctl": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    script = render("pool/devmapper-pool.sh.j2", conf_dir=".", run_dir=str(tmp_path), meta_most=1)
    (tmp_path / "pool.conf").write_text("VARIANT=loop DATA=/d/data META=/d/meta\n")
    done = subprocess.run(
        ["sh", "-c", script.replace("PATH=", f"PATH={tmp_path}:", 1), "sh", "down", "pool"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "remove --retry pool\n" in (tmp_path / "called").read_text()


MANY = """
import os, resource, sys
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
opened = [open("/dev/null") for _ in range(8000)] + [open(sys.argv[1])]
print("ready", flush=True)
sys.stdin.read()
"""
"""More open files than have room in the arguments of a program, where these have 128 KiB."""


def test_who_uses_an_unmounted_device_is_found_among_many_open_files(tmp_path: Path) -> None:
    with (
        tempfile.NamedTemporaryFile(dir="/dev/shm") as file,
        subprocess.Popen(
            [sys.executable, "-c", MANY, file.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as user,
    ):
        assert user.stdout and user.stdin and user.stdout.readline() == "ready\n"
        device = Path(file.name).stat().st_dev
        said = run(f"ulimit -s 512\nsharers pool-snap-1 {os.major(device)}:{os.minor(device)}", tmp_path)
        user.stdin.close()
    assert f"(pid {user.pid}), though it is mounted nowhere" in said


MOUNTS = r"""
31 1 8:1 / / rw - ext4 /dev/sda1 rw
40 31 253:99999 / /srv/read\040only ro - ext4 /dev/mapper/there ro
41 31 253:99999 / /srv/a\040b rw,relatime - ext4 /dev/mapper/there rw
42 41 253:99999 /in /srv/a\040b/c rw,relatime - ext4 /dev/mapper/there rw
"""


def on_mounts(script: str, place: Path) -> str:
    """The same, with `MOUNTS` in the place of the mounts of this process."""
    (place / "mounts").write_text(MOUNTS.lstrip())
    return run(script.replace("/proc/self/mountinfo", str(place / "mounts")), place)


def test_a_mount_point_with_blanks_is_trimmed(tmp_path: Path) -> None:
    record = LoopRecord(data="/d/data", meta="/d/meta", block_sectors=128, asked_bytes=(1,), asked_meta_bytes=(1,))
    trim = ManagedPool("pool", Daemon(), record, "/d").render("trim")
    begin = 'fstrim() { echo ": $2"; }\nstat() { :; }\nsync() { :; }\n'
    said = on_mounts(begin + THINS + trim[trim.index("active ||") :].replace("space", ":"), tmp_path)
    assert "trimmed there: /srv/a b\n" in said


def test_a_mount_point_with_blanks_is_unmounted_at_the_shutdown(tmp_path: Path) -> None:
    begin = 'systemctl() { echo stopping; }\nsignal() { :; }\numount() { echo "umount $1"; }\nend_containers'
    shutdown = render("pool/devmapper-pool-shutdown.j2").replace("signal() {", "signal_() {")
    said = on_mounts(f"{shutdown}{THINS}{begin}", tmp_path)
    assert said.splitlines() == ["umount /srv/read only", "umount /srv/a b/c", "umount /srv/a b"]


def test_mounts_are_found_where_no_file_can_be_written(tmp_path: Path) -> None:
    """Otherwise a copy of a container's mount in a service's namespace would look like a mount of that service."""
    device = Path("/dev/shm").stat().st_dev
    said = run(f'rmdir "$scratch"\nmounts there {os.major(device)}:{os.minor(device)}', tmp_path)
    assert "there is mounted at /dev/shm\n" in said and "in the mount namespace of" not in said
