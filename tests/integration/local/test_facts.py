"""The scripts that gather facts, in a real shell: what they wait for, and what they must not read or confuse."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from invoke import Context

from fabfile import facts
from fabfile.facts import disks, lvm, pool, prelude, units
from fabfile.facts.prelude import AT_REST, NEXT_LINE, RUN
from fabfile.facts.query import Query
from fabfile.facts.under import LOOPS, VOLUME
from fabfile.remote import target
from fabfile.render import render

RUNS = "MainPID=662\nActiveState=active\nSubState=running\nJob=\nNeedDaemonReload=no\n"
EXITED = "MainPID=0\nActiveState=active\nSubState=exited\nJob=\nNeedDaemonReload=no\n"
WAITING = "ActiveState=active\nSubState=waiting\nJob=\nNeedDaemonReload=no\n"
DEAD = "MainPID=0\nActiveState=inactive\nSubState=dead\nJob=\nNeedDaemonReload=no\n"
QUEUED = DEAD.replace("Job=", "Job=2767")
STARTING = "MainPID=0\nActiveState=activating\nSubState=start-pre\nJob=2767\nNeedDaemonReload=no\n"
STOPPING = "MainPID=662\nActiveState=deactivating\nSubState=stop-sigterm\nJob=\nNeedDaemonReload=no\n"
FAILS = "MainPID=0\nActiveState=activating\nSubState=auto-restart\nJob=\nNeedDaemonReload=no\n"


UNASKED = "unreadable LVM cannot tell who uses it: "


@pytest.mark.parametrize(
    ("units", "changing"),
    [
        ([RUNS, EXITED, WAITING], []),
        ([DEAD, DEAD, DEAD], []),
        ([FAILS, EXITED, WAITING], []),
        ([QUEUED, EXITED, WAITING], ["1"]),
        ([RUNS, EXITED, QUEUED], ["3"]),
        ([STARTING, EXITED, WAITING], ["1"]),
        ([STOPPING, STARTING, DEAD], ["1", "2"]),
    ],
)
def test_facts_wait_for_units_to_come_to_rest(units: list[str], changing: list[str]) -> None:
    assert waits_for(units) == (changing or ["rest"])


def test_they_wait_for_the_monitor_only_briefly() -> None:
    units = [RUNS, EXITED, WAITING, STARTING]
    assert waits_for(units) == ["4"]
    assert waits_for(units, aside="4") == ["rest"]


def waits_for(units: list[str], aside: str = "") -> list[str]:
    """Numbers of the units that have not come to rest, or `rest`."""
    script = f'{NEXT_LINE}{AT_REST}\nunits=$1\nif at_rest "$2"; then echo rest; fi\necho "$changing"'
    done = subprocess.run(
        ["sh", "-euc", script, "sh", "\n".join(units), aside], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize("directory", ["srv/pool", "pool", "/nowhere/at/all"])
def test_facts_are_gathered_whatever_the_directory_is_called(c: Context, directory: str) -> None:
    said = target.sh(c, facts.script(Query(dir=directory)), "looking", limit=30, read_only=True)
    assert facts.parse(said).pool


@pytest.mark.parametrize(
    ("answer", "udev"),
    [
        ("exit 0", "answers"),
        ("echo 'Connection timed out' >&2; exit 1", "silent"),
        ("""echo "control: unrecognized option '--ping'" >&2; exit 1""", "unasked"),  # systemd 239, of RHEL 8
    ],
)
def test_a_udevadm_that_cannot_ping_does_not_count_as_a_udev_that_is_silent(
    tmp_path: Path, answer: str, udev: str
) -> None:
    script = RUN.format(udev_limit=3).replace("/run/udev/control", "control")
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(tmp_path / "control"))
        done = subprocess.run(
            ["sh", "-euc", f'udevadm() ( {answer}; )\n{script}\necho "$udev"'],
            capture_output=True, text=True, check=True, cwd=tmp_path,
        )  # fmt: skip
    assert done.stdout == f"{udev}\n"


def test_a_loop_device_on_a_dead_file_system_does_not_hide_the_others(tmp_path: Path) -> None:
    for number in ("7:0", "7:1", "7:2"):
        (tmp_path / f"sys/dev/block/{number}").mkdir(parents=True)
        (tmp_path / f"sys/dev/block/{number}/size").write_text("2048\n")
    (tmp_path / "sys/block/loop0/loop").mkdir(parents=True)
    told = """
  7:0   253:1      77 /a pool/data
  7:1                 /mnt/dead/a 7
  7:2                 /mnt/dead/data
"""
    script = f'dir={tmp_path} told=$1\nlosetup() {{ echo "$told"; }}\n{LOOPS.replace("/sys/", "sys/")}'
    done = subprocess.run(["sh", "-euc", script, "sh", told], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[1:] == ["loop 7:0 253:1 77 2048 /a pool/data"]


LVM = """
lvm() { case $1 in systemid) ;; lvmconfig) echo a=1 ;; *) echo "$*" >>called ;; esac; }
vgs() { lvm vgs; }
lvs() { lvm lvs; }
pvs() { lvm pvs; }
lsblk() { :; }
sleep() { :; }
"""
"""Shell functions in place of LVM's commands, which record what would wait, and of programs that do not matter here."""

WAITS = "timeout() { return 137; }\n"
"""The same in place of the program that ends a command which takes too long."""


def suspended(place: Path, *names: str) -> str:
    """Make devices in the place of /sys, all suspended but one; return the shell that finds those."""
    for number, name in enumerate((*names, "not")):
        device = place / f"sys/block/dm-{number}/dm"
        device.mkdir(parents=True)
        (device / "name").write_text(f"{name}\n")
        (device / "suspended").write_text(f"{int(name in names)}\n")
    return render("pool/suspended.sh.j2").replace("/sys/", "sys/")


def seen(place: Path, script: str) -> str:
    """What a part of a look prints; no command of LVM's ran."""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, cwd=place)
    assert not (place / "called").exists(), done.stdout
    return done.stdout


def test_suspended_devices_are_found_without_a_program(tmp_path: Path) -> None:
    ask = 'sleep() { :; }\nPATH=/nowhere\nset -eu\nfind_suspended\necho "$suspended"'
    assert seen(tmp_path, f"{suspended(tmp_path, 'one', 'two')}{ask}") == " one two\n"
    assert seen(Path("/"), f"{suspended(tmp_path / 'none')}{ask}") == "\n"


@pytest.mark.parametrize(("names", "busy"), [(("other", "another"), False), ((), True)])
def test_a_look_does_not_wait_for_lvm(tmp_path: Path, names: tuple[str, ...], busy: bool) -> None:
    before = f"{LVM}{WAITS * busy}" + prelude.LVM.format(
        find_suspended=suspended(tmp_path, *names), plain=render("pool/plain.j2"), lvm_wait=1
    )
    volume = pool.parse(seen(tmp_path, f"{before}volume=vg/lv\n{VOLUME}")).volume
    assert volume and (volume.suspended, volume.busy) == (names, busy)
    group = lvm.parse(seen(tmp_path, before + lvm.fragment(Query(vg="vg"))))
    assert group and (group.suspended, group.busy) == (names, busy)


@pytest.mark.parametrize(
    ("names", "busy", "said"),
    [
        (
            ("other",),
            False,
            f"{UNASKED}it cannot be queried while other is suspended: dmsetup resume other\n",
        ),
        ((), True, f"{UNASKED}pvs did not end within 60 s: see lslocks | grep /lvm/\n"),
    ],
)
def test_a_disk_is_not_taken_where_lvm_cannot_be_asked(
    tmp_path: Path, names: tuple[str, ...], busy: bool, said: str
) -> None:
    look = disks.functions() + suspended(tmp_path, *names)
    ask = "opened() { :; }\nset -eu\nsurvey\nmembers=' ' counts=' 0 0' type=''\nphysical"
    assert seen(tmp_path, f"{LVM}{WAITS * busy}{look}{ask}") == said


def test_a_suspended_device_and_what_is_on_it_are_not_read(tmp_path: Path) -> None:
    look = disks.functions() + suspended(tmp_path, "below")
    ask = "set -eu\nfind_suspended\nreal=/dev/dm-7\n! readable || echo read"
    on = "lsblk() { printf '%s\\n' above below vda; }\n"
    assert seen(tmp_path, f"{LVM}{look}{on}{ask}") == "unreadable below is suspended: dmsetup resume below\n"
    assert seen(tmp_path, f"{LVM}{look}{ask}") == "read\n"


def test_of_mounts_on_each_other_the_last_one_is_seen(tmp_path: Path) -> None:
    stacked = "findmnt() { printf '%s\\n' 'autofs 0 /srv ' 'ext4 8192 /srv u-1'; }\n"
    ask = next(iter(re.findall("^place=.*\\n.*\\n", pool.fragment(Query()), re.MULTILINE)))
    assert seen(tmp_path, f"{stacked}dir=/srv {NEXT_LINE}{ask}").startswith("place ext4 8192 /srv u-1")
    roots = "findmnt() { printf '%s\\n' none /dev/vda1; }\nlsblk() { echo \"8:1 $*\"; }\nopened() { :; }\n"
    assert "/dev/vda1" in seen(tmp_path, f'{disks.functions()}{roots}survey\necho "$roots"')


def test_an_image_is_not_the_disk_that_has_its_name(tmp_path: Path) -> None:
    disk = next(path for path in Path("/dev").iterdir() if path.is_block_device())
    loop = tmp_path / "sys/block/loop0"
    (loop / "loop").mkdir(parents=True)
    (loop / "dev").write_text("7:0\n")
    image = tmp_path / disk.name
    image.write_text("")
    script = f'{disks.functions()}opened() {{ :; }}\nlsblk() {{ :; }}\nsurvey\necho "$loops"'.replace("/sys/", "sys/")
    number = f"{os.major(disk.stat().st_rdev)}:{os.minor(disk.stat().st_rdev)}"
    # A path that is not seen here is that of the disk in a container.
    for path, on in ((image, ""), (disk, f"{number} 7:0"), (Path("/in/a/container") / disk.name, f"{number} 7:0")):
        (loop / "loop/backing_file").write_text(f"{path}\n")
        assert seen(tmp_path, script).strip() == on


def test_the_times_of_units_are_compared_with_the_clock_of_the_same_moment(tmp_path: Path) -> None:
    """Other facts may take a minute before that of the units: a timer that runs would look late by as much."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\nprintf '{RUNS}'\n")
    systemctl.chmod(0o755)
    query = Query()
    begin = prelude.text(query, ("units",)).replace("[ -d /run/systemd/system ]", "[ -d / ]")
    clock = f"{prelude.CLOCK}clock; echo $uptime\n"
    script = f"{clock}{begin}sleep 2\n{units.fragment(query)}\n"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    before, _, said = done.stdout.partition("\n")
    assert int(said.split()[1]) - int(before) < 2
