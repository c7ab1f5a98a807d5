"""The running lab: its machines, keys and inventory, all under one directory that goes with them."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from fabfile import paths
from fabfile.console import say
from fabfile.errors import Refused
from fabfile.lab import accel, image, registry, suites, tools, vm
from fabfile.lab import mirror as lab_mirror
from fabfile.lab.vm import Vm


@contextmanager
def _locked(lab: Path) -> Iterator[None]:
    lab.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (lab / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def machines() -> list[Vm]:
    """The lab's machines, running or not, by name."""
    files = sorted(paths.lab().glob("*/vm.json"))
    return [msgspec.convert({"directory": file.parent, **msgspec.json.decode(file.read_bytes())}, Vm) for file in files]


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
    count: int = 1, suite: str = "bookworm", memory: int = 1536, forward: Sequence[int] = (), mirror: bool = True
) -> list[Vm]:
    """Start `count` more machines and wait until SSH answers on all of them.

    Args:
        count: how many.
        suite: Debian's name of the generation.
        memory: MiB for each.
        forward: ports in the machine that get a port of 127.0.0.1 too.
        mirror: also make the lab's mirror and run its registry.

    Raises:
        Refused: no root, a missing program, an unknown suite, a count below one.
        Failed: an image, a mirror or a boot failed; machines that were started are ended again.
    """
    suites.check(suite)
    if count < 1 or count > 16:
        raise Refused(f"count: {count} machines", "from 1 to 16")
    tools.check()
    lab = paths.lab()
    with _locked(lab):
        base = image.build(suite)
        accelerator = accel.options(base)
        holds = lab_mirror.build() if mirror else None
        address = registry.start(lab, holds) if holds else ""
        new = [_create(lab, base, memory, forward) for _ in range(count)]
        _write(lab, holds, address)
        for machine in new:
            vm.start(machine, base.kernel, base.initrd, accelerator)
    try:
        with ThreadPoolExecutor(count) as threads:
            for machine, seconds in zip(new, threads.map(vm.wait, new), strict=True):
                say(f"{machine.name}: {suite}, SSH on 127.0.0.1:{machine.port}, up after {seconds:.0f} s")
    except BaseException:
        for machine in new:
            vm.kill(machine)
        raise
    return new


def restart(machine: Vm, suite: str = "bookworm") -> None:
    """Start a machine that was ended, with its disks as they were, and wait for it."""
    base = image.build(suite)
    vm.start(machine, base.kernel, base.initrd, accel.options(base))
    vm.wait(machine)


def down(name: str = "") -> None:
    """End one machine, or the whole lab: no process and no file of it stays.

    Raises:
        Refused: no machine of this name.
    """
    lab = paths.lab()
    for machine in [get(name)] if name else machines():
        vm.kill(machine)
        shutil.rmtree(machine.directory)
        say(f"{machine.name}: gone")
    if machines():
        inventory = lab / "hosts.toml"
        import toml

        known = toml.loads(inventory.read_text())
        known["hosts"].pop(name, None)
        inventory.write_text(toml.dumps(known))
        return
    if lab.exists():
        registry.stop(lab)
        shutil.rmtree(lab)


def _create(lab: Path, base: image.Image, memory: int, forward: Sequence[int]) -> Vm:
    taken = {machine.name for machine in machines()}
    name = next(f"lab-{n}" for n in range(1, 1000) if f"lab-{n}" not in taken)
    port, *others = vm.free_ports(1 + len(forward))
    machine = Vm(lab / name, port, tuple(zip(others, forward, strict=True)), memory)
    machine.directory.mkdir(mode=0o700)
    key = lab / "id_ed25519"
    if not key.exists():
        tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", key)
    public = vm.seed(machine, key.with_suffix(".pub").read_text())
    with (lab / "known_hosts").open("a") as known:
        known.write("".join(f"[127.0.0.1]:{p} {public}" for p in (port, *others)))
    vm.create_disks(machine, base.disk)
    state: dict[str, Any] = {"port": port, "forward": machine.forward, "memory": memory}
    (machine.directory / "vm.json").write_bytes(msgspec.json.encode(state))
    return machine


def _write(lab: Path, holds: Path | None, address: str) -> None:
    import toml

    defaults = {
        "user": "root",
        "identity_file": str(lab / "id_ed25519"),
        "known_hosts": str(lab / "known_hosts"),
        "release": "lab",
    }
    if holds:
        defaults |= {"mirror": str(holds), "registry": address}
    hosts = {machine.name: {"address": "127.0.0.1", "port": machine.port} for machine in machines()}
    (lab / "hosts.toml").write_text(toml.dumps({"defaults": defaults, "hosts": hosts}))
