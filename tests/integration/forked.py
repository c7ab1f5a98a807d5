"""Run `fab` without starting Python anew: a process that has imported everything forks a child for each command line.

Starting `fab` takes 0.35 s of CPU, a forked child 0.1 s. The tests in
tests/integration/local start the real program. A child gets its own environment, directory and streams.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import fabfile
import programs
from fabfile import render

_server: list[socket.socket] = []
"""Socket to send command lines to; empty: no such process runs."""

LENGTH = 1 << 20
"""Limit for the bytes of a request, which is a command line and an environment."""


@contextmanager
def serving() -> Iterator[None]:
    """Run the forking process within this context; outside of it `run` starts the program itself."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here:
        with there:
            words = [sys.executable, "-m", __name__, str(there.fileno())]
            process = subprocess.Popen(words, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL)
        _server.append(here)
        yield
        _server.remove(here)
    process.wait()


def run(args: Sequence[str], directory: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run fab and return what it printed.

    Args:
        args: the words after the program's name.
        directory: working directory.
        environment: the complete environment.
    """
    if not _server:
        words = [str(Path(sys.executable).with_name("fab")), *args]
        return subprocess.run(
            words, cwd=directory, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
    request = json.dumps([[*args], str(directory), dict(environment)]).encode()
    answer, far = socket.socketpair()
    with answer, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with far:
            socket.send_fds(_server[0], [request], [far.fileno(), out.fileno(), err.fileno()])
        code = answer.recv(16)
        assert code, "the process that forks fab has ended"
        return subprocess.CompletedProcess(["fab", *args], int(code), _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def serve(requests: socket.socket) -> None:
    """Fork for each request until the other end is closed; in a child this returns, and the child goes on as fab."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, LENGTH, 3)
        if not request:
            os._exit(0)
        answer, *streams = descriptors
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if child := os.fork():
                for each in streams:
                    os.close(each)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                os.write(answer, str(code).encode())
                os._exit(0)
            os.close(answer)
            args, directory, environment = json.loads(request)
            begin(args, directory, environment, streams)
            return
        for each in descriptors:
            os.close(each)


def begin(args: list[str], directory: str, environment: dict[str, str], streams: list[int]) -> None:
    """Set this process up as if it had just been started."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for stream, number in zip(streams, (1, 2), strict=True):
        os.dup2(stream, number)
        os.close(stream)
    sys.argv = ["fab", *args]
    random.seed()


def prepare() -> None:
    """Import what a task imports when it first needs it, and compile the templates."""
    for module in pkgutil.walk_packages(fabfile.__path__, "fabfile."):
        if not module.name.startswith("fabfile.lab"):
            importlib.import_module(module.name)
    for name in ("fabric.main", "rich.console", "rich.live", "rich.table", "rich.text"):
        importlib.import_module(name)
    for file in render.TEMPLATES.rglob("*.j2"):
        render.template(str(file.relative_to(render.TEMPLATES)))


def main() -> None:
    """Prepare all that fab needs, then serve."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the children that wait for fab are not waited for
    prepare()
    gc.collect()
    gc.freeze()  # else the collector touches all of these pages in each child, which copies them
    serve(socket.socket(fileno=int(sys.argv[1])))
    programs.main("fab")


if __name__ == "__main__":
    main()
