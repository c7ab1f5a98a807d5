"""Keeps a User-mode Linux machine and its network together: neither outlives the other, nor this program.

A thread of it is the machine's disks, apart from those that User-mode Linux has of its own.

Started by `uml.py`, in the machine's directory, as `python -I -S uml_supervisor.py FILE`, FILE being its settings in
JSON. It is a program of its own, not a fork of the lab: it gives up root before anything of the machine runs.
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
"""prctl(2)."""

ADDR_NO_RANDOMIZE = 0x0040000
"""personality(2). User-mode Linux wants fixed addresses; else it starts itself again, and has no name for a moment."""

BASE = 10
"""Descriptor of the image under the root disk: always this one, as its path is written into the disk's overlay."""

BUFFER = 1 << 20
"""Bytes of frames that may wait on the cable: with the default of a few hundred kilobytes some are lost."""

libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """prctl(2).

    Raises:
        OSError: the kernel refused.
    """
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def give_up_root(identity: int) -> None:
    """Become a user without rights, for good."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(identity, identity, identity)
        os.setresuid(identity, identity, identity)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)


def child(parent: int, processor: int | None) -> None:
    """Before a program is started: it ends with its parent, and a machine runs on one processor."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked to be told
        os.kill(os.getpid(), signal.SIGKILL)
    if processor is not None:
        libc.personality(ADDR_NO_RANDOMIZE)
        os.sched_setaffinity(0, {processor})


def program(name: str) -> dict[str, Any]:
    """What a file beside this one defines: with `-I`, Python does not look there."""
    return runpy.run_path(str(Path(__file__).with_name(name)))


def serve(disks: Any) -> None:
    """Serve a machine's disks; if that fails, end the machine."""
    try:
        disks.run()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def main(file: str) -> int:
    """Run network and machine; when one of them ends, end the other. Returns the machine's exit code."""
    settings = json.loads(Path(file).read_text())
    os.dup2(settings["base"], BASE)
    console = os.open("console.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    # Read before, when that is still allowed, and run after.
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
    # Asked to end, we go when both are gone: then nobody holds the machine's disks any more.
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
