"""The running lab: its machines, keys and inventory, all in one directory that is removed with them."""

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
from fabfile.lab.disk import LabDisk
from fabfile.lab.kinds.kind import Kind
from fabfile.lab.progress import progress
from fabfile.lab.vm import BrokenMachine, Vm

MOST = 16
"""Limit for the number of machines started at once, against typing errors that fill the memory."""

MEMORY = (512, 65536)
"""Least and most memory of a machine in MiB; with less, Debian's kernel does not unpack its initial RAM disk."""


def scan() -> tuple[list[Vm], dict[str, str]]:
    """Return the lab's machines, running or not, and the broken ones: name → what is wrong."""
    found, broken = [], {}
    for name in directory.names(paths.lab()):
        try:
            machine = vm.read(paths.lab() / name)
        except BrokenMachine as error:
            broken[name] = f"{error.what}: {error.details}"
            continue
        if machine.kind in kinds.KINDS:
            found.append(machine)
        else:
            broken[name] = f"{name} is broken: no kind of machine {machine.kind!r}"
    return found, broken


def machines() -> list[Vm]:
    """List the lab's machines, running or not, by name."""
    return scan()[0]


def get(name: str) -> Vm:
    """Return a machine by name.

    Raises:
        Refused: there is none of this name, or it is broken.
    """
    found, broken = scan()
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
    mirror: str = lab_mirror.SUITE,
    base: image.Image | None = None,
    disks: Sequence[str | LabDisk] = (),
    kind: str = "",
) -> list[Vm]:
    """Start machines, and wait until SSH works on all of them.

    Args:
        count: number of machines.
        suite: name of the Debian generation.
        memory: MiB for each.
        forward: ports of the machine that also get a port of 127.0.0.1.
        mirror: suite whose packages the lab's mirror is made from; empty: no mirror and no registry.
        base: image for their disks instead of the suite's; it must be from a machine of the same kind.
        disks: additional empty disks, apart from the one of 20G that each machine has: `LabDisk`s, or sizes of plain
            ones.
        kind: kvm, uml or tcg; debian: one of those with Debian's own kernel; empty: see `kinds.choose`.

    Returns:
        The new machines.

    Raises:
        Refused: a program is missing, the suite is unknown, a count, memory or disk is not valid, or the directory is
            not ours.
        Failed: an image, the mirror or a boot failed; started machines are stopped, and their files stay.
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
        _refuse_unusable()
        # Built without the lab's lock, so that meanwhile other machines can be started and removed.
        with ThreadPoolExecutor(1) as beside:
            built = beside.submit(lab_mirror.build, mirror) if mirror else None  # each takes a minute
            chosen, own = kinds.choose(suite, kind)
            holds = built.result() if built else None
        with _changing() as lab:
            settings = _offered(lab, holds) if holds else {}
            base = base or own
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
    """Stop a machine as a power cut would."""
    process.end(machine.process, kinds.KINDS[machine.kind].end)


def restart(machine: Vm) -> None:
    """Start a stopped machine with its disks as they were, and wait for it.

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
    """Return a machine's own name for one of its disks; see `Kind.disk`."""
    return kinds.KINDS[machine.kind].disk(machine, number)


def down(name: str = "") -> None:
    """Stop and remove one machine, or the whole lab with all processes and files.

    Args:
        name: name of the machine; empty: the whole lab.

    Raises:
        Refused: there is no machine of this name, or LAB_DIR is not a lab's directory.
        Failed: something could not be stopped or removed.
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
    """Stop and remove one machine; the lab stays with its registry, at the same address for the next machine.

    Raises:
        Refused: there is no machine of this name, or LAB_DIR is not a lab's directory.
        Failed: something could not be stopped or removed.
    """
    lab = paths.lab()
    if not directory.check(lab) or name not in directory.names(lab):
        raise _unknown(name)
    with directory.locked(lab):
        _remove(lab / name)
        hosts.write(lab, machines())


def _remove(place: Path) -> None:
    """Stop what runs in a machine's directory, complete or not, and remove the directory."""
    try:
        end = kinds.KINDS[vm.read(place).kind].end
    except (BrokenMachine, KeyError):
        end = SIGTERM  # it lets the supervisor of a User-mode Linux machine stop the others first
    process.end(place / vm.PROCESS, end)
    files.remove(place)
    say(f"{place.name}: gone")


def _refuse_unusable() -> None:
    """Refuse a directory that cannot be the lab's, before anything is built for it."""
    with directory.locked(paths.lab()):
        pass


@contextmanager
def _changing() -> Iterator[Path]:
    """Lock the lab and remove incomplete machines; after a failure, remove the machines that were never started."""
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
            for machine in new:  # all of them, even if one cannot be stopped
                stack.callback(kill, machine)
            raise


def offer(mirror: str = lab_mirror.SUITE) -> dict[str, str]:
    """Build the lab's mirror and run its registry, as `up` does; return both as settings of the inventory."""
    _refuse_unusable()
    holds = lab_mirror.build(mirror)
    with _changing() as lab:
        settings = _offered(lab, holds)
        hosts.write(lab, machines(), **settings)
        return settings


def _offered(lab: Path, mirror: Path) -> dict[str, str]:
    return {"mirror": str(mirror), "registry": registry.start(lab, mirror)}


def _create(
    lab: Path, kind: Kind, base: image.Image, memory: int, forward: Sequence[int], disks: tuple[LabDisk, ...]
) -> Vm:
    """Create the directory of a new machine: keys, disks, and last the file that makes it complete."""
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
    """The public key that may log in to the lab's machines; the key pair is created with the first machine."""
    key, public = lab / vm.KEY, lab / f"{vm.KEY}.pub"
    if not key.exists():
        new = lab / f".{vm.KEY}.new"
        new.unlink(missing_ok=True)
        tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", new)
        new.with_name(f"{new.name}.pub").replace(public)
        new.replace(key)
    return public.read_text()
