"""The lab's directory: a mark that makes it ours, a lock, and what is removed from it.

A directory without our mark is never touched. From a marked one, only what we create there is removed, by name;
everything else stays, and is listed.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from fabfile import private
from fabfile.console import say
from fabfile.errors import Refused
from fabfile.lab import files, hosts, vm

MARK = ".containerd-devmapper-lab"
"""Name of the mark, which is also the file that is locked."""

TEXT = "A lab of containerd-devmapper. lab.down removes from this directory what lab.up made in it"
FOUND, MADE = f"{TEXT}.\n", f"{TEXT}, and the directory.\n"
"""Content of the mark in a directory that existed before, and in one that we created."""

REGISTRY = ".registry"

FILES = (vm.KEY, f"{vm.KEY}.pub", hosts.FILE, vm.KNOWN_HOSTS)
"""Names of the files that we create in it; a partly written one is called `.NAME.new`."""

MACHINE = re.compile("lab-[1-9][0-9]*")
"""Names of machines, and of their directories."""


def is_lab(lab: Path) -> bool:
    """Return whether a directory has our mark."""
    return _text(lab / MARK) in (FOUND, MADE)


def _text(mark: Path) -> str | None:
    try:
        return None if mark.is_symlink() else mark.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def check(lab: Path) -> bool:
    """Return whether there is a lab: True if the directory has our mark, False if it is empty or does not exist.

    Raises:
        Refused: it contains other files, is not a directory, or can be written to by others.
    """
    if lab.is_dir():
        hint = "let LAB_DIR name a new directory"
        private.check(lab, "a user who may write to a lab's directory has the rights of the lab", hint)
    if is_lab(lab):
        return True
    if os.path.lexists(lab) and (not lab.is_dir() or any(not _is_half_a_mark(path) for path in lab.iterdir())):
        # Another lab.up may have created the mark between the two checks.
        if is_lab(lab):
            return True
        raise Refused(
            f"{lab} is not a lab's directory",
            "it holds other files, and is not touched",
            hint="let LAB_DIR name a new directory",
        )
    return False


def _is_half_a_mark(path: Path) -> bool:
    """Whether a file is the partly written mark of another lab.up, killed or still running."""
    text = _text(path) if path.name == MARK else None
    return text is not None and (FOUND.startswith(text) or MADE.startswith(text))


def names(lab: Path) -> list[str]:
    """List the names of the machines' directories, complete or not, by number."""
    if not lab.is_dir():
        return []
    found = [path.name for path in lab.iterdir() if MACHINE.fullmatch(path.name) and _is_directory(path)]
    return sorted(found, key=lambda name: (len(name), name))


@contextmanager
def locked(lab: Path) -> Iterator[None]:
    """Lock the lab against other processes, and create its directory, which is removed if nothing is left in it.

    Raises:
        Refused: the directory has no mark of a lab.
        Failed: it cannot be created or written to.
    """
    with files.writing(lab, "LAB_DIR"):
        while not (lock := _lock(lab)):
            pass
    with lock:
        try:
            yield
        finally:
            if lab.is_dir() and [path.name for path in lab.iterdir()] == [MARK]:
                ours = (lab / MARK).read_text() == MADE
                (lab / MARK).unlink()
                if ours:
                    with suppress(OSError):  # a lab.up that was waiting has put its own mark there
                        lab.rmdir()


def _lock(lab: Path) -> IO[str] | None:
    """The lab's lock; None if the directory was removed while we waited for it."""
    made = not lab.exists()
    lab.mkdir(parents=True, exist_ok=True, mode=0o700)
    check(lab)
    with ExitStack() as stack, suppress(FileNotFoundError):
        descriptor = os.open(lab / MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        lock = stack.enter_context(os.fdopen(descriptor, "r+"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another lab.up or lab.down …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(lock.fileno()), (lab / MARK).stat()):
            _mark(lab, lock, made)
            stack.pop_all()
            return lock
    return None


def _mark(lab: Path, lock: IO[str], made: bool) -> None:
    """Write the mark, unless it exists."""
    if check(lab):
        return
    lock.seek(0)
    lock.truncate()
    lock.write(MADE if made else FOUND)
    lock.flush()


def clear(lab: Path) -> None:
    """Remove the lab's own files, after its machines; everything else stays, and is listed.

    Raises:
        Failed: a file could not be removed.
    """
    own = {name for file in FILES for name in (file, f".{file}.new", f".{file}.new.pub")}
    stays = []
    for path in sorted(lab.iterdir()):
        if path.name == REGISTRY and _is_directory(path):
            files.remove(path)
        elif path.name in own and path.is_file() and not path.is_symlink():
            path.unlink()
        elif path.name != MARK:
            stays.append(path.name)
    if stays:
        say(f"{lab} stays, because it holds files that the lab did not make: {', '.join(stays)}")


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
