"""The probe for User-mode Linux, where something that it needs is forbidden or too small."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fabfile import paths
from fabfile.lab import kinds
from tests.integration.user_mode import PTRACE, SECCOMP, forbidden

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
"""prctl(2)."""

LOAD, JUMP_IF_EQUAL, RETURN, ALLOW, EPERM = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050001
"""seccomp(2) and its filters."""

ASK = """
import json, sys
from fabfile.errors import Problem
from fabfile.lab import kinds
try:
    print(json.dumps(["boots", kinds.choose(sys.argv[1], "uml")[1].version]))
except Problem as problem:
    print(json.dumps([problem.what, problem.details]))
"""


def forbid(*calls: int) -> None:
    """Let these system calls fail with EPERM in this process and its children, as a container may."""
    program = [(LOAD, 0, 0, 0)]
    program += [(JUMP_IF_EQUAL, len(calls) - number, 0, call) for number, call in enumerate(calls)]
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, EPERM)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    filter = ctypes.create_string_buffer(struct.pack("HL", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(filter))):
        if libc.prctl(call[0], ctypes.c_ulong(call[1]), ctypes.c_ulong(call[2]), 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl {call}")


@pytest.fixture
def cache(tmp_path: Path, suite: str) -> Path:
    """The cache, with no answers of earlier probes."""
    if why := forbidden():
        pytest.skip(why)
    kinds.choose(suite, "uml")
    cache = tmp_path / "cache" / "containerd-devmapper"
    cache.mkdir(parents=True)
    for name in ("images", "kernels"):
        (cache / name).symlink_to(paths.cache() / name)
    return cache


def ask(cache: Path, suite: str, *before: str, **options: Any) -> tuple[str, str]:
    """The answer of the probe, run in a process of its own."""
    command = [*before, sys.executable, "-c", ASK, suite]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    what, details = json.loads(done.stdout.splitlines()[-1])
    assert [path for path in (cache / "probes").iterdir() if path.suffix not in (".lock", "")] == []
    return what, details


@pytest.mark.parametrize(
    ("calls", "boots"), [((PTRACE,), True), ((SECCOMP,), True), ((PTRACE, SECCOMP), False)], ids=str
)
def test_what_a_container_forbids_is_a_reason(cache: Path, suite: str, calls: tuple[int, ...], boots: bool) -> None:
    assert (not forbidden(partial(forbid, *calls))) == boots
    what, details = ask(cache, suite if boots else "forky", preexec_fn=partial(forbid, *calls))
    assert (what == "boots") == boots, details
    if not boots:
        assert what == "no lab machine can be started on this controller"
        assert details.startswith("uml: User-mode Linux") and "does not boot on this controller" in details


@pytest.mark.parametrize("options", ["noexec", "size=32m"])
def test_memory_is_elsewhere_if_dev_shm_will_not_do(cache: Path, suite: str, options: str) -> None:
    mount = f'mount -t tmpfs -o {options} none /dev/shm && exec "$@"'
    what, details = ask(cache, suite, "unshare", "--mount", "sh", "-c", mount, "sh")
    assert what == "boots", details
