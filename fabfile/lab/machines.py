"""The running lab: its machines, keys and inventory, all under one directory that goes with them."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from fabfile import paths
from fabfile.console import say
from fabfile.errors import Failed, Refused
from fabfile.lab import image, kinds, process, registry, suites, tools, vm
from fabfile.lab import mirror as lab_mirror
from fabfile.lab.kinds.kind import Kind
from fabfile.lab.progress import progress
from fabfile.lab.vm import Vm

LOCK = ".lock"
"""Also the mark of a directory that is a lab's, and may be deleted with all that is in it."""

MOST = 16
"""Machines at once: a slip of the finger is not to fill the memory."""

MEMORY = (512, 65536)
"""MiB, least and most for a machine: with less Debian's kernel does not unpack its initial RAM disk."""


def machines() -> list[Vm]:
    """The lab's machines, running or not, by name."""
    found = [vm.read(file) for file in paths.lab().glob("*/vm.json")]
    return sorted(found, key=lambda machine: (len(machine.name), machine.name))


def get(name: str) -> Vm:
    """A machine by name.

    Raises:
        Refused: there is none of this name.
    """
    found = {machine.name: machine for machine in machines()}
    if name not in found:
        raise Refused(f"no machine {name!r} in the lab", f"there are: {', '.join(found) or 'none'}", hint="inv lab.up")
    return found[name]


def up(
    count: int = 1,
    suite: str = "bookworm",
    memory: int = 1536,
    forward: Sequence[int] = (),
    mirror: bool = True,
    base: image.Image | None = None,
    disks: Sequence[str] = (),
    kind: str = "",
) -> list[Vm]:
    """Start `count` more machines and wait until SSH answers on all of them.

    Args:
        count: how many.
        suite: Debian's name of the generation.
        memory: MiB for each.
        forward: ports in the machine that get a port of 127.0.0.1 too.
        mirror: also make the lab's mirror and run its registry.
        base: what their disks are overlays of, instead of the suite's own image; made by a machine of the same kind.
        disks: sizes of more empty disks, besides the one of 20G that each has.
        kind: kvm, uml or tcg; debian: one of those with Debian's own kernel; nothing: see `kinds.choose`.

    Raises:
        Refused: no root, a missing program, an unknown suite, a count or memory out of bounds, a directory not ours.
        Failed: an image, a mirror or a boot failed; machines that were started are ended again, their files stay.
    """
    suites.check(suite)
    if not 1 <= count <= MOST:
        raise Refused(f"count: {count} machines", f"from 1 to {MOST}")
    if not MEMORY[0] <= memory <= MEMORY[1]:
        raise Refused(f"memory: {memory} MiB", f"from {MEMORY[0]} to {MEMORY[1]}")
    tools.check()
    new: list[Vm] = []
    with ThreadPoolExecutor(count) as threads, _ended_on_failure(new):
        with _locked(paths.lab()) as lab:
            chosen, own = kinds.choose(suite, kind)
            base = base or own
            settings = _offered(lab) if mirror else {}
            new += [_create(lab, chosen, base, memory, forward, disks) for _ in range(count)]
            _write(lab, **settings)
            for machine in new:
                chosen.start(machine, base)
        with progress(f"booting {', '.join(machine.name for machine in new)}"):
            seconds = list(threads.map(vm.wait, new))
    for machine, took in zip(new, seconds, strict=True):
        say(f"{machine.name}: {suite}, SSH on 127.0.0.1:{machine.port}, up after {took:.1f} s")
    return new


def kill(machine: Vm) -> None:
    """End a machine as a power cut would, and only it."""
    process.end(machine.process, kinds.KINDS[machine.kind].end)


def restart(machine: Vm) -> None:
    """Start a machine that was ended, with its disks as they were, and wait for it.

    Raises:
        Failed: its image is gone from the cache, or it did not boot.
    """
    base = image.Image(machine.suite, machine.image)
    if not base.root.exists():
        raise Failed(f"the image of {machine.name} is gone", str(base.root), hint=f"inv lab.down {machine.name}")
    kinds.KINDS[machine.kind].start(machine, base)
    vm.wait(machine)


def disk(machine: Vm, number: int) -> str:
    """A machine's own name of one of its disks; see `Kind.disk`."""
    return kinds.KINDS[machine.kind].disk(number)


def down(name: str = "") -> None:
    """End one machine, or the whole lab: no process and no file of it stays.

    Raises:
        Refused: no machine of this name.
    """
    if name:
        get(name)
    if not (paths.lab() / LOCK).exists():
        return
    with _locked(paths.lab()) as lab:
        for machine in [get(name)] if name else machines():
            kill(machine)
            shutil.rmtree(machine.directory)
            say(f"{machine.name}: gone")
        if machines():
            _write(lab)
        else:
            registry.stop(lab)
            _empty(lab)


@contextmanager
def _locked(lab: Path) -> Iterator[Path]:
    """Within it, no other process changes the lab; its directory exists and is ours, and goes if nothing is in it."""
    while not (lock := _lock(lab)):
        pass
    with lock:
        try:
            yield lab
        finally:
            if [path.name for path in lab.iterdir()] == [LOCK]:
                (lab / LOCK).unlink()
                with suppress(OSError):  # a lab.up that waited has put its own lock there
                    lab.rmdir()


def _lock(lab: Path) -> IO[str] | None:
    """The lab's lock, or None where the lab was taken away while we waited for it."""
    lab.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (lab / LOCK).exists() and any(lab.iterdir()):
        raise Refused(
            f"{lab} is not a lab's directory",
            "it is not empty, and lab.down would delete all that is in it",
            hint="let LAB_DIR name a new directory",
        )
    with ExitStack() as stack, suppress(FileNotFoundError):
        lock = stack.enter_context((lab / LOCK).open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another lab.up or lab.down …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(lock.fileno()), (lab / LOCK).stat()):
            stack.pop_all()
            return lock
    return None


@contextmanager
def _ended_on_failure(new: list[Vm]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for machine in new:
            kill(machine)
        raise


def _empty(lab: Path) -> None:
    for path in lab.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def offer() -> dict[str, str]:
    """Make the lab's mirror and run its registry, as up does, and return both as settings of the inventory."""
    with _locked(paths.lab()) as lab:
        settings = _offered(lab)
        _write(lab, **settings)
        return settings


def _offered(lab: Path) -> dict[str, str]:
    holds = lab_mirror.build()
    return {"mirror": str(holds), "registry": registry.start(lab, holds)}


def _create(lab: Path, kind: Kind, base: image.Image, memory: int, forward: Sequence[int], disks: Sequence[str]) -> Vm:
    """Make a new machine's directory: its keys, its disks, and last the file by which it is known."""
    key = lab / "id_ed25519"
    if not key.exists():
        tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", key)
    taken = {machine.name for machine in machines()}
    name = next(f"lab-{n}" for n in range(1, 1000) if f"lab-{n}" not in taken)
    directory = lab / name
    shutil.rmtree(directory, ignore_errors=True)  # an interrupted lab.up left it half made
    directory.mkdir(mode=0o700)
    port, *others = vm.free_ports(1 + len(forward))
    machine = Vm(
        directory, kind.name, base.suite, base.directory, port, kernel=base.version,
        forward=tuple(zip(others, forward, strict=True)), memory=memory, disks=tuple(disks),
        host_key=vm.seed(directory, key.with_suffix(".pub").read_text()),
    )  # fmt: skip
    kind.make_disks(machine, base)
    vm.write(machine)
    return machine


def _write(lab: Path, **settings: str) -> None:
    """Write the inventory and the pinned keys of the machines there are; what an earlier one offered stays."""
    import toml

    inventory, keys = lab / "hosts.toml", lab / "known_hosts"
    defaults = {"user": "root", "identity_file": str(lab / "id_ed25519"), "known_hosts": str(keys), "release": "lab"}
    earlier = toml.loads(inventory.read_text())["defaults"] if inventory.exists() else {}
    hosts = {machine.name: {"address": "127.0.0.1", "port": machine.port} for machine in machines()}
    _replace(keys, "".join(line for machine in machines() for line in machine.known_hosts()))
    _replace(inventory, toml.dumps({"defaults": {**earlier, **defaults, **settings}, "hosts": hosts}))


def _replace(file: Path, text: str) -> None:
    """Write a file that others may be reading."""
    part = file.with_name(f".{file.name}.new")
    part.write_text(text)
    part.replace(file)
