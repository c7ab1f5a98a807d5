"""How the proof of a snapshot and others read what ctr prints: the shell, with recorded output of ctr 1.6 and 2.3.

`nox -s releases` makes the proof with the real programs.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fabfile.facts import containerd, proof
from fabfile.facts.prelude import NEXT_LINE
from fabfile.facts.query import Query
from fabfile.instance import Daemon
from fabfile.remote.target import PROLOGUE
from fabfile.render import render

POOL = "containerd-pool"
SNAPSHOTS = "KEY       PARENT KIND      \nsha256:a         Committed \n"
MOUNT = f"mount -t ext4 /dev/mapper/{POOL}-snap-3 /proof"
WARNING = 'time="2026-11-29T09:55:44Z" level=warning msg="DEPRECATION: The mirrors of io.containerd.grpc.v1.cri go."'
"""What ctr prints on standard error for every connection to a daemon that has something to warn about."""

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


def test_a_warning_of_ctr_is_no_part_of_the_mount(tmp_path: Path) -> None:
    found, words = proved(tmp_path, prepare=f"echo '{WARNING}' >&2; echo '{MOUNT}'")
    assert found == ""
    assert words[:5] == ["-t", "ext4", "-o", "ro", f"/dev/mapper/{POOL}-snap-3"]


def test_no_answer_is_no_proof(tmp_path: Path) -> None:
    assert proved(tmp_path, prepare="exit 124") == (proof.SILENT, [])


@pytest.mark.parametrize(("mount", "why"), [("echo bad superblock; false", "bad superblock"), ("false", proof.SILENT)])
def test_one_that_cannot_be_mounted_is_no_proof(tmp_path: Path, mount: str, why: str) -> None:
    found, words = proved(tmp_path, prepare=f"echo '{MOUNT}'", mount=mount)
    assert words and found == f"the file system of sha256:a {proof.UNMOUNTED}: {why}"


def test_a_warning_of_mount_is_no_failure(tmp_path: Path) -> None:
    assert proved(tmp_path, prepare=f"echo '{MOUNT}'", mount="echo 'mount: a hint'")[0] == ""


def test_a_warning_of_ctr_is_no_plugin(tmp_path: Path) -> None:
    ctr = tmp_path / "ctr"
    row = "io.containerd.snapshotter.v1 devmapper linux/amd64 ok"
    warn = f"echo '{WARNING}' >&2"
    ctr.write_text(f"#!/bin/sh\n{warn}\n{warn}\necho 'TYPE ID PLATFORMS STATUS'\necho '{row}'\n")
    ctr.chmod(0o755)
    state = "unit() { case $2 in MainPID) value=$$ ;; *) value=active ;; esac; }; way() { :; }"
    script = f"{state}\n{NEXT_LINE}\n{containerd.fragment(Query(bin_dir=str(tmp_path)))}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    found = containerd.parse(done.stdout)
    assert found.plugins == (containerd.Plugin("io.containerd.snapshotter.v1", "devmapper", "ok"),)
    assert not found.reason


def test_ctr_is_told_not_to_warn(tmp_path: Path) -> None:
    ctr = tmp_path / "ctr"
    quiet = '[ "$CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS" = 1 ]'
    ctr.write_text(f"#!/bin/sh\n{quiet} || echo '{WARNING}' >&2\necho 'ctr: it is in use' >&2\nexit 1\n")
    ctr.chmod(0o755)
    listed = tmp_path / "list"
    listed.write_text("rm\tk8s.io\tkey\n")
    script = PROLOGUE + render("pool/forget.sh.j2", daemon=Daemon(bin_dir=str(tmp_path)))
    done = subprocess.run(["sh", "-c", script, "sh", str(listed)], capture_output=True, text=True, check=True)
    assert done.stdout == "@kept k8s.io key: ctr: it is in use\n"
