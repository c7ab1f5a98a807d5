"""The running lab: its machines, keys and inventory, all under one directory that goes with them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count as count_from
from pathlib import Path
from signal import SIGTERM

from fabfile import paths
from fabfile.console import say
from fabfile.errors import Failed, Refused
from fabfile.lab import directory, files, hosts, image, kinds, process, registry, suites, tools, vm
from fabfile.lab import disk as lab_disk
from fabfile.lab import mirror as lab_mirror
from fabfile.lab.disk import Disk
from fabfile.lab.kinds.kind import Kind
from fabfile.lab.progress import progress
from fabfile.lab.vm import Broken, Vm

MOST = 16
"""Machines at once: a slip of the finger is not to fill the memory."""

MEMORY = (512, 65536)
"""MiB, least and most for a machine: with less Debian's kernel does not unpack its initial RAM disk."""


def look() -> tuple[list[Vm], dict[str, str]]:
    """The lab's machines by name, running or not; and what else is there by the name of one → what is wrong with it."""
    found, broken = [], {}
    for name in directory.names(paths.lab()):
        try:
            machine = vm.read(paths.lab() / name)
        except Broken as error:
            broken[name] = f"{error.what}: {error.details}"
            continue
        if machine.kind in kinds.KINDS:
            found.append(machine)
        else:
            broken[name] = f"{name} is broken: no kind of machine {machine.kind!r}"
    return found, broken


def machines() -> list[Vm]:
    """The lab's machines, running or not, by name."""
    return look()[0]


def get(name: str) -> Vm:
    """A machine by name.

    Raises:
        Refused: there is none of this name, or it is broken.
    """
    found, broken = look()
    if name in broken:
        raise Refused(f"no machine {name!r} to use", broken[name], hint=f"inv lab.down {name}")
    for machine in found:
        if machine.name == name:
            return machine
    raise _unknown(name)


def _unknown(name: str) -> Refused:
    there = ", ".join(directory.names(paths.lab()))
    return Refused(f"no machine {name!r} in the lab", f"there are: {there or 'none'}", hint="inv lab.list")


def up(
    count: int = 1,
    suite: str = "bookworm",
    memory: int = 1536,
    forward: Sequence[int] = (),
    mirror: bool = True,
    base: image.Image | None = None,
    disks: Sequence[str | Disk] = (),
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
        disks: further empty disks, besides the one of 20G that each has: sizes of plain ones, or `Disk`s.
        kind: kvm, uml or tcg; debian: one of those with Debian's own kernel; nothing: see `kinds.choose`.

    Raises:
        Refused: no root, a missing program, an unknown suite, a count or memory out of bounds, disks that a machine
            cannot have, a directory not ours.
        Failed: an image, a mirror or a boot failed; machines that were started are ended again, their files stay.
    """
    suites.check(suite)
    if not 1 <= count <= MOST:
        raise Refused(f"count: {count} machines", f"from 1 to {MOST}")
    if not MEMORY[0] <= memory <= MEMORY[1]:
        raise Refused(f"memory: {memory} MiB", f"from {MEMORY[0]} to {MEMORY[1]}")
    further = lab_disk.disks(disks)
    tools.check()
    new: list[Vm] = []
    with ThreadPoolExecutor(count) as threads, _ended_on_failure(new):
        with _changing() as lab:
            offered = threads.submit(_offered, lab) if mirror else None  # beside the image: each has a minute to do
            chosen, own = kinds.choose(suite, kind)
            base = base or own
            settings = offered.result() if offered else {}
            new += [_create(lab, chosen, base, memory, forward, further) for _ in range(count)]
            hosts.write(lab, machines(), **settings)
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
    if not base.root.exists() or base.id != machine.image_id:
        raise Failed(
            f"the image of {machine.name} is gone, and its disk cannot be used without it",
            f"{base.directory} was {'made anew' if base.root.exists() else 'removed'}",
            hint=f"inv lab.down {machine.name}",
        )
    with files.writing(machine.directory.parent, "LAB_DIR"):
        kinds.KINDS[machine.kind].start(machine, base)
    vm.wait(machine)


def disk(machine: Vm, number: int) -> str:
    """A machine's own name of one of its disks; see `Kind.disk`."""
    return kinds.KINDS[machine.kind].disk(machine, number)


def down(name: str = "") -> None:
    """End one machine, or the whole lab: no process and no file of it stays.

    Raises:
        Refused: no machine of this name, or LAB_DIR is not a lab's directory.
        Failed: something could not be ended or removed.
    """
    lab = paths.lab()
    there = directory.check(lab)
    if name and (not there or name not in directory.names(lab)):
        raise _unknown(name)
    if not there:
        say(f"there is no lab in {lab}")
        return
    with directory.locked(lab):
        for each in [name] if name else directory.names(lab):
            _remove(lab / each)
        if directory.names(lab):
            hosts.write(lab, machines())
        else:
            registry.stop(lab)
            directory.clear(lab)


def remove(name: str) -> None:
    """End one machine. The lab stays, with its registry, so that the next machine finds that at the same address.

    Raises:
        Refused: no machine of this name, or LAB_DIR is not a lab's directory.
        Failed: something could not be ended or removed.
    """
    lab = paths.lab()
    if not directory.check(lab) or name not in directory.names(lab):
        raise _unknown(name)
    with directory.locked(lab):
        _remove(lab / name)
        hosts.write(lab, machines())


def _remove(place: Path) -> None:
    """End what runs in a machine's directory, whole or not, and remove it."""
    try:
        end = kinds.KINDS[vm.read(place).kind].end
    except (Broken, KeyError):
        end = SIGTERM  # which lets the supervisor of a User-mode Linux machine end the others first
    process.end(place / vm.PROCESS, end)
    files.remove(place)
    say(f"{place.name}: gone")


@contextmanager
def _changing() -> Iterator[Path]:
    """The lab's directory, locked, with nothing half made in it; a failure leaves nothing that was never started."""
    lab = paths.lab()
    with directory.locked(lab), files.writing(lab, "LAB_DIR"):
        for name in directory.names(lab):
            if not (lab / name / vm.FILE).exists():
                say(f"{name} is incomplete: the lab.up that made it was killed")
                _remove(lab / name)
        before, unused = directory.names(lab), not (lab / hosts.FILE).exists()
        try:
            yield lab
        except BaseException:
            for name in directory.names(lab):
                if name not in before and not (lab / name / vm.PROCESS).exists():
                    files.discard(lab / name)
            if unused and not directory.names(lab):
                registry.stop(lab)
                directory.clear(lab)
            raise


@contextmanager
def _ended_on_failure(new: list[Vm]) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            yield
        except BaseException:
            for machine in new:  # all of them, even if one does not end
                stack.callback(kill, machine)
            raise


def offer() -> dict[str, str]:
    """Make the lab's mirror and run its registry, as up does, and return both as settings of the inventory."""
    with _changing() as lab:
        settings = _offered(lab)
        hosts.write(lab, machines(), **settings)
        return settings


def _offered(lab: Path) -> dict[str, str]:
    holds = lab_mirror.build()
    return {"mirror": str(holds), "registry": registry.start(lab, holds)}


def _create(
    lab: Path, kind: Kind, base: image.Image, memory: int, forward: Sequence[int], disks: tuple[Disk, ...]
) -> Vm:
    """Make a new machine's directory: its keys, its disks, and last the file by which it is known."""
    authorized = _key(lab)
    name = next(f"lab-{n}" for n in count_from(1) if not os.path.lexists(lab / f"lab-{n}"))
    place = lab / name
    place.mkdir(mode=0o700)
    try:
        port, *others = vm.free_ports(1 + len(forward))
        machine = Vm(
            place, kind.name, base.suite, base.directory, port, kernel=base.version, image_id=base.id,
            forward=tuple(zip(others, forward, strict=True)), memory=memory, disks=disks,
            host_key=vm.seed(place, authorized),
        )  # fmt: skip
        kind.make_disks(machine, base)
        vm.write(machine)
    except BaseException:
        files.discard(place)
        raise
    return machine


def _key(lab: Path) -> str:
    """The public key that may log in to the lab's machines; it is made with the first of them."""
    key, public = lab / vm.KEY, lab / f"{vm.KEY}.pub"
    if not key.exists():
        new = lab / f".{vm.KEY}.new"
        new.unlink(missing_ok=True)
        tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", new)
        new.with_name(f"{new.name}.pub").replace(public)
        new.replace(key)
    return public.read_text()
