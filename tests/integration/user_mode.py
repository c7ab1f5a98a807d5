"""Whether this computer forbids User-mode Linux, found without the lab's own probe: the tests check that."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable

PTRACE, SECCOMP = 101, 317
"""Numbers of system calls on x86_64."""

ASK = f"""
import ctypes
libc, trap = ctypes.CDLL(None), ctypes.c_uint32(0x30000)
traced = libc.syscall({PTRACE}, 0, 0, 0, 0) == 0
print(traced or libc.syscall({SECCOMP}, 2, 0, ctypes.byref(trap)) == 0)
"""
"""PTRACE_TRACEME of ptrace(2), SECCOMP_GET_ACTION_AVAIL of seccomp(2) for SECCOMP_RET_TRAP: one is enough."""


def forbidden(preexec: Callable[[], object] | None = None) -> str:
    """Return the reason why no machine can run here; empty: one must boot.

    Args:
        preexec: what a process does before it looks.
    """
    if platform.machine() != "x86_64":
        return f"this computer is {platform.machine()}"
    done = subprocess.run([sys.executable, "-c", ASK], preexec_fn=preexec, capture_output=True, text=True, check=True)
    return "" if done.stdout == "True\n" else "neither ptrace nor seccomp is allowed here"
