"""Keeps a User-mode Linux machine and its network together: neither outlives the other, or this program.

One of its threads serves the machine's additional disks.

`uml.py` starts it in the machine's directory, as `python -I -S uml_supervisor.py FILE` with its settings as JSON in
FILE. It is a separate program, not a fork of the lab, and gives up root before anything of the machine runs.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
"""Options of prctl(2)."""

ADDR_NO_RANDOMIZE = 0x0040000
"""Flag of personality(2). Without fixed addresses, User-mode Linux executes itself again, and briefly has no name."""

BASE = 10
"""Descriptor of the image under the root disk; always the same, as its path is written into the disk's overlay."""

BUFFER = 1 << 20
"""Bytes of frames that may be in transit on the cable; with the default of some hundred kilobytes, frames are lost."""

libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Call prctl(2).

    Raises:
        OSError: the kernel refused.
    """
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def give_up_root(identity: int) -> None:
    """Become a user without rights, irrevocably."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(identity, identity, identity)
        os.setresuid(identity, identity, identity)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)


def child(parent: int, processor: int | None) -> None:
    """Prepare a child process: it ends with its parent, and a machine runs on one processor."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the kernel was told to signal us
        os.kill(os.getpid(), signal.SIGKILL)
    if processor is not None:
        libc.personality(ADDR_NO_RANDOMIZE)
        os.sched_setaffinity(0, {processor})


def program(name: str) -> dict[str, Any]:
    """Run a file beside this one, and return what it defines; with `-I`, Python does not import from here."""
    return runpy.run_path(str(Path(__file__).with_name(name)))


def serve(disks: Any) -> None:
    """Serve a machine's disks; if that fails, stop the machine."""
    try:
        disks.run()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def main(file: str) -> int:
    """Run network and machine; when one of them ends, stop the other. Return the machine's exit code."""
    settings = json.loads(Path(file).read_text())
    os.dup2(settings["base"], BASE)
    console = os.open("console.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    # Read while we still may, and run later.
    block, vhost = program("uml_block.py"), program("uml_vhost.py")
    give_up_root(settings["identity"])
    disks = vhost["Server"]({path: block["Block"](**each) for path, each in settings["disks"].items()})
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    network = subprocess.Popen(settings["network"], stdin=near.fileno(), preexec_fn=partial(child, os.getpid(), None))
    machine = subprocess.Popen(
        settings["machine"], stdin=far.fileno(), stdout=console, stderr=console, pass_fds=(BASE,),
        env=settings["environment"], preexec_fn=partial(child, os.getpid(), settings["processor"]),
    )  # fmt: skip
    for end in (near, far):
        end.close()
    ends = {os.pidfd_open(process.pid): process for process in (network, machine)}
    # When told to end, we exit after both have ended: then nothing has the machine's disks open any more.
    asked, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    Thread(target=serve, args=(disks,), daemon=True).start()
    ended, _, _ = select.select([*ends, asked], [], [])
    if ends.get(ended[0]) is network:
        print(f"the network ended, exit code {network.wait()}: so does the machine", file=sys.stderr)
    for process in (machine, network):
        process.kill()
        process.wait()
    return int(machine.returncode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
