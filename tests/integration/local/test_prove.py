"""How the proof of a snapshot reads what ctr prints: the shell, with recorded output of ctr 1.6 and 2.3 in its place.

`nox -s releases` makes the proof with the real programs.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fabfile.facts import proof
from fabfile.facts.query import Query

POOL = "containerd-pool"
SNAPSHOTS = "KEY       PARENT KIND      \nsha256:a         Committed \n"
MOUNT = f"mount -t ext4 /dev/mapper/{POOL}-snap-3 /proof"

PROGRAMS = {
    "ctr": 'case $* in *" ls") cat snapshots ;; *" prepare "*) {prepare} ;; esac',
    "dmsetup": 'case $1 in status) echo "0 8 thin-pool 1 2/3 4/5 - rw " ;; table) echo "0 8 thin 252:0 3" ;; esac',
    "mount": 'echo "$*" >mounted; {mount}',
    "timeout": 'shift; "$@"',
}


def proved(place: Path, *, prepare: str, mount: str = "true") -> tuple[str | None, list[str]]:
    """Make the proof. Returns what it found, and the words that mount was called with."""
    for name, script in PROGRAMS.items():
        program = place / name
        program.write_text(f"#!/bin/sh\n{script.format(prepare=prepare, mount=mount)}\n")
        program.chmod(0o755)
    (place / "snapshots").write_text(SNAPSHOTS)
    text = proof.fragment(Query(pool=POOL, prove=True, bin_dir=str(place)))
    state = "held='Active:252:0:x' room='9999 4096' udev=answers"
    done = subprocess.run(
        ["sh", "-c", f"{state}\n{text}"], cwd=place, capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{place}:{os.environ['PATH']}"},
    )  # fmt: skip
    mounted = place / "mounted"
    return proof.parse(done.stdout), mounted.read_text().split() if mounted.exists() else []


@pytest.mark.parametrize(
    ("said", "options"),
    [(f"{MOUNT} -o ", "ro,"), (MOUNT, "ro"), (f"{MOUNT} -o nouuid,discard", "ro,nouuid,discard")],
    ids=["1.6, no options", "2.3, no options", "with options"],
)
def test_a_snapshot_is_mounted_with_its_options_and_read_only(tmp_path: Path, said: str, options: str) -> None:
    found, words = proved(tmp_path, prepare=f"echo '{said}'")
    assert found == ""
    assert words[:5] == ["-t", "ext4", "-o", options, f"/dev/mapper/{POOL}-snap-3"]


def test_no_answer_is_no_proof(tmp_path: Path) -> None:
    assert proved(tmp_path, prepare="exit 124") == (proof.SILENT, [])


@pytest.mark.parametrize(("mount", "why"), [("echo bad superblock; false", "bad superblock"), ("false", proof.SILENT)])
def test_one_that_cannot_be_mounted_is_no_proof(tmp_path: Path, mount: str, why: str) -> None:
    found, words = proved(tmp_path, prepare=f"echo '{MOUNT}'", mount=mount)
    assert words and found == f"the file system of sha256:a {proof.UNMOUNTED}: {why}"


def test_a_warning_of_mount_is_no_failure(tmp_path: Path) -> None:
    assert proved(tmp_path, prepare=f"echo '{MOUNT}'", mount="echo 'mount: a hint'")[0] == ""
