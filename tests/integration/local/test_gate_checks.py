"""Each check of the gate by itself: if all answers but one are as recorded, nothing is destroyed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fabfile.pool.safety import gate

LOOKS = "size 9\nsignature LVM2_member,p-1\npv p-1 vg\nbytes 512 0"
"""What an inspection of a disk prints that holds nothing but our physical volume."""

RIGHT = {
    "group": "g-1",
    "pool": "l-1",
    "thin": "l-2",
    "disk": "p-1",
    "in no group": "p-1",
    "used": "0",
    "content": LOOKS,
    "signatures": "",
    "file system": "f-1",
    "behind": "8:1 12",
    "number": "253:7",
}
"""What is asked → the answer that agrees with the record."""

STUBS = r"""
destroyed() { echo "$*" >>destroyed; }
lvm() {
  case "$*" in
    vgs*vg_seqno*) echo 7 ;;
    vgs*) cat 'group' ;;
    lvs*'vg/thin --config'*) cat 'thin' ;;
    lvs*) cat 'pool' ;;
    pvs*pv_used*) cat 'used' ;;
    pvs*pv_uuid,vg_name*) cat 'in no group' ;;
    pvs*) cat 'disk' ;;
    vgcfgbackup*) printf 'seqno = 7\n' >"$4" ;;
    *) destroyed "lvm $*" ;;
  esac
}
for program in lvremove vgremove vgreduce blank; do eval "$program() { destroyed $program \"\$@\"; }"; done
wipefs() { case "$*" in -n*) cat signatures ;; *) destroyed wipefs "$@" ;; esac; }
blkid() { cat 'file system'; }
losetup() { case "$*" in -n*) cat behind ;; *) destroyed losetup "$@" ;; esac; }
dmsetup() { case "$*" in info*) cat number ;; *) destroyed dmsetup "$@" ;; esac; }
sync() { :; }
udevadm() { :; }
inspect() { cat content; }
mkdir bin
printf '#!/bin/sh\necho mkfs.ext4 >>destroyed\n' >bin/mkfs.ext4
chmod +x bin/mkfs.ext4
PATH=$PWD/bin:$PATH
"""

CHECKS = {
    "remove_lv vg/pool l-1": ["pool"],
    "remove_vg vg g-1": ["group"],
    "leave_vg vg g-1 /dev/vdb p-1": ["group", "disk", "used"],
    "forget_missing vg g-1": ["group"],
    "relabel vg g-1 pool l-1 4 kept thin=l-2": ["group", "pool", "thin"],
    'wipe_disk /dev/vdb "$(cat content)" /dev/vdb 9999999': ["content"],
    "blank_pv /dev/vdb 'size 9' /dev/vdb 9999999 p-1": ["in no group", "content"],
    "make_ext4 vg/pool l-1": ["pool", "signatures"],
    "wipe_fs /dev/vg/pool f-1": ["file system"],
    "detach_loop /dev/loop7 8:1:12": ["behind"],
    "remove_dm pool 253:7": ["number"],
    "let_go pool 253:7": ["number"],
}
"""Operation → what it asks."""


def destroyed(directory: Path, operation: str, answers: dict[str, str]) -> tuple[int, str, str]:
    """Run an operation, and return its exit code, its output, and what it did."""
    for name, answer in answers.items():
        (directory / name).write_text(answer)
    done = subprocess.run(
        ["sh", "-euc", f"{gate.functions()}\n{STUBS}\n{operation}"],
        cwd=directory, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    log = directory / "destroyed"
    return done.returncode, done.stdout + done.stderr, log.read_text() if log.exists() else ""


def name(operation: str) -> str:
    return operation.split()[0]


@pytest.mark.parametrize("operation", CHECKS, ids=name)
def test_it_is_done_if_all_is_as_recorded(operation: str, tmp_path: Path) -> None:
    code, said, did = destroyed(tmp_path, operation, RIGHT)
    assert code == 0 and did, said


@pytest.mark.parametrize(
    ("operation", "asked"), [(operation, asked) for operation, all in CHECKS.items() for asked in all],
    ids=lambda value: name(value) if value in CHECKS else value,
)  # fmt: skip
@pytest.mark.parametrize("answer", ["another", "", "size 9\nsignature ext4,f-2"])
def test_one_answer_that_is_not_as_recorded_stops_it(operation: str, asked: str, answer: str, tmp_path: Path) -> None:
    if (asked, answer) == ("signatures", ""):
        pytest.skip("an empty device has none")
    if asked == "content" and operation.startswith("wipe_disk"):
        operation = operation.replace('"$(cat content)"', f"'{LOOKS}'")
    code, said, did = destroyed(tmp_path, operation, RIGHT | {asked: answer})
    assert did == "", said
    assert code == (0 if asked == "used" else 1), said
