"""Connections that OpenSSH keeps for later runs: where their sockets are, and how one is started."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fabfile import interruption, paths
from fabfile.errors import Refused
from fabfile.ssh import multiplex, route
from fabfile.ssh.multiplex import Absent, Session, Unusable
from fabfile.ssh.route import Route

if TYPE_CHECKING:
    from fabfile.ssh.machine import Machine

START_LIMIT = 15
"""Seconds for OpenSSH to log in; a host that takes longer gets a connection of our own, with longer limits."""

MOST = 4 << 10
"""Limit for the bytes read of what ssh prints."""


class MasterConnection:
    """The connection that OpenSSH keeps to a host.

    Args:
        machine: our own connection to the host, which need not be open.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.why = ""
        """Why it is not used; empty: it is."""
        self._sharing = threading.Lock()

    @cached_property
    def route(self) -> Route:
        """The way to the host; known_hosts files are read once."""
        return route.to(self.machine)

    def begin(self, command: str) -> Session | None:
        """Start a command over the connection, which is made if it is not there; None: it is not used, see `why`."""
        try:
            with interruption.connecting(), private() as directory:
                path = directory / self.route.name
                with suppress(Absent):
                    return Session(_own(path), command)
                self._start(path)
                return Session(_own(path), command)
        except (Unusable, Refused, OSError) as error:
            self.why = _reason(error)
            return None

    def shared(self, directory: Path) -> str:
        """Return the name of the socket, for hosts behind this one, which use one connection; empty: it is not used.

        The first host makes the connection if it is not there, and the others wait for that.
        """
        with self._sharing:
            if not self.why:
                path = directory / self.route.name
                try:
                    if not _listens(path):
                        self._start(path)
                except (Unusable, Refused, OSError) as error:
                    self.why = _reason(error)
        return "" if self.why else self.route.name

    def _start(self, path: Path) -> None:
        gateway = getattr(self.machine.gateway, "master", None)
        through = gateway.shared(path.parent) if gateway else ""
        with _starting(path.parent, path.name) as part:
            if not _listens(path):  # another run may have started it by now
                path.unlink(missing_ok=True)
                _log_in(self.route, through, part, path)


@contextmanager
def private() -> Iterator[Path]:
    """Open the directory of the sockets, which is made if it is not there.

    Returns:
        A path of the open directory: it is the one that was checked, and short enough for a socket.

    Raises:
        Unusable: others have access to it, or it is another user's.
    """
    place = paths.sockets()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = os.open(place, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if _foreign(os.fstat(opened)):
            raise Unusable(f"{place} must belong to you and have mode 0700")
        yield Path(f"/proc/self/fd/{opened}")
    finally:
        os.close(opened)


def end_all(*, dry: bool) -> int:
    """End all connections that are kept, and the commands that run over them; return how many there are.

    Those to gateways were made first and end last, as the others end with them.

    Args:
        dry: whether to end none, and only count them.

    Raises:
        Unusable: see `private` and `multiplex.terminate`.
    """
    count = 0
    with private() as directory:
        sockets = filter(Path.is_socket, directory.iterdir())
        for path in sorted(sockets, key=lambda each: each.lstat().st_ctime_ns, reverse=True):
            try:
                multiplex.connected(path).close() if dry else multiplex.terminate(path)
                count += 1
            except Absent:
                continue  # what listened there was killed
    return count


def _reason(error: Exception) -> str:
    return error.what if isinstance(error, Refused) else str(error)


def _listens(path: Path) -> bool:
    """Return whether OpenSSH answers at a socket; see `_own` and `multiplex.connected` for the errors."""
    try:
        multiplex.connected(_own(path)).close()
    except Absent:
        return False
    return True


def _own(path: Path) -> Path:
    """Return the path of a socket.

    Raises:
        Absent: there is none.
        Unusable: it is not a socket, others have access to it, or it is another user's.
    """
    try:
        found = path.lstat()
    except FileNotFoundError as error:
        raise Absent(str(error)) from error
    if not stat.S_ISSOCK(found.st_mode) or _foreign(found):
        raise Unusable(f"{paths.sockets() / path.name} must be a socket, belong to you and have mode 0600")
    return path


def _foreign(found: os.stat_result) -> bool:
    return found.st_uid != os.geteuid() or bool(found.st_mode & 0o077)


@contextmanager
def _starting(directory: Path, name: str) -> Iterator[Path]:
    """Make a directory for the files of one start; it keeps other runs from starting the same connection meanwhile."""
    part = directory / f"{name}.new"
    try:
        part.mkdir(mode=0o700)
    except FileExistsError as error:
        if time.time() - part.stat().st_mtime > 2 * START_LIMIT:  # a run was killed meanwhile
            shutil.rmtree(part)
        raise Unusable("another run is starting it") from error
    try:
        yield part
    finally:
        shutil.rmtree(part)


def _log_in(way: Route, gateway: str, part: Path, path: Path) -> None:
    """Let OpenSSH log in, and stay in the background.

    Only `ControlPersist` puts it there, and only once its socket exists. So no process remains that nobody can reach.

    Args:
        way: the way to the host.
        gateway: name of the socket of the connection to go through, see `Route.files`.
        part: directory for the files that ssh reads.
        path: the socket.
    """
    for name, text in way.files(part.name, gateway).items():
        (part / name).touch(mode=0o600)
        (part / name).write_bytes(os.fsencode(text))
    options = ("-o", f"ControlPath={path.name}", "-o", f"ControlPersist={way.seconds}", "-o", "ControlMaster=yes")
    command = ["ssh", "-F", f"{part.name}/{route.CONFIG}", "-N", *options, route.alias(0)]
    log = part / "log"
    with log.open("wb") as printed:
        try:
            process = subprocess.Popen(
                command, cwd=path.parent, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=printed,
                start_new_session=True, env={**os.environ, "SHELL": "/bin/sh"},
            )  # fmt: skip
        except FileNotFoundError as error:
            raise Unusable("this controller has no program ssh: install openssh-client") from error
    try:
        with interruption.ended_with(process):
            code = process.wait(START_LIMIT)
    except subprocess.TimeoutExpired as error:
        raise Unusable(f"ssh did not log in within {START_LIMIT} s") from error
    if code:
        with log.open("rb") as stream:
            said = stream.read(MOST).decode(errors="replace").strip()
        raise Unusable(f"ssh: {said or f'exit code {code}'}")
