"""Every command names each state, and the remedy it prints works when typed as printed.

One machine: the default containerd on a pool on files, the instance `two` on a disk, `small` on small files; on each a
container with a file.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.integration import states
from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.machine import Machine
from tests.integration.states import CTR, CTR_SMALL, DIR, END, LOOP, STATES, Fab, State, hint_in, out
from tests.integration.test_instance import registry


@pytest.fixture(scope="module")
def small(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inventory of the instance `small`; the lab's is there once a machine is."""
    return tmp_path_factory.mktemp("small") / "hosts.toml"


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, suite: str, golden: Golden, small: Path) -> Iterator[Machine]:
    """A machine with the pools, and a backup of each with all of its contents."""
    with started(request, suite, base=golden.disk) as machine:
        device = "/dev/disk/by-id/virtio-lab-disk"
        machine.fab("deploy", "--instance", "two", "--variant", "direct", "--device", device)
        small.write_text((machine.vm.directory.parent / "hosts.toml").read_text() + states.SETTINGS)
        machine.fab("deploy", "--instance", "small", inventory=small)
        image = f"{registry(machine)}/library/busybox:latest"
        for ctr, options in (("ctr", []), (CTR, ["--instance", "two"]), (CTR_SMALL, ["--instance", "small"])):
            machine.ssh(f"{ctr} images pull --plain-http --snapshotter devmapper {image}")
            machine.ssh(f"{ctr} containers create --snapshotter devmapper {image} kept")
            machine.in_snapshot("kept", "echo still here >file", ctr)
            machine.fab("pool.backup", *options)
        yield machine


def of(machine: Machine, state: State, small: Path) -> Fab:
    """A function that runs fab with the inventory of a state's pool."""
    return partial(machine.fab, inventory=small if state.small else None)


def shell(machine: Machine, state: State, script: str, code: int | None = 0) -> str:
    """Run a row's shell."""
    values = {
        "image": f"{registry(machine)}/library/busybox:latest",
        "ctr": state.ctr,
        "pool": state.pool,
        "unit": f"devmapper-pool@{state.pool}.service",
        "daemon": state.daemon,
    }
    return machine.ssh("".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items()) + script, code)


def well(machine: Machine, state: State, small: Path) -> None:
    """doctor and deploy find nothing wrong, and the container lost only what was announced."""
    fab = of(machine, state, small)
    assert " fail " not in fab("doctor", *state.options)
    fab("deploy", *state.variant)
    assert "they agree" in fab("pool.fsck", *state.options)
    if state.kept:
        assert machine.in_snapshot("kept", "cat file", state.ctr) == "still here\n"


@pytest.mark.parametrize("name", STATES)
def test_a_state_is_named_by_every_command_and_has_a_fix(machine: Machine, small: Path, name: str) -> None:
    state = STATES[name]
    fab = of(machine, state, small)
    shell(machine, state, state.make, code=None)
    said = fab("doctor", *state.options, code=1)
    assert state.says in said
    hint = hint_in(said, state.says)
    assert state.says in fab("pool.status", *state.options, code=state.status)
    said = fab("pool.check", *state.options, code=state.check)
    assert (state.checked or (state.says if state.check == 2 else "")) in said
    if state.deploy:  # where it is 0, a deploy is another way out: here the one that doctor names is tried
        assert state.says in fab("deploy", *state.variant, code=state.deploy)
    assert state.way in hint
    said = out(fab, machine, hint, code=None if state.then else 0)
    for words in state.then:
        hint = hint_in(said)
        assert all(word in hint for word in words), hint
        said = out(fab, machine, hint, code=None)
    if " pool.fsck " in said and "to repair that" in said:
        out(fab, machine, said[said.index("to repair that") :])
    shell(machine, state, state.after or END, code=None)
    well(machine, state, small)


def test_what_lvm_asks_of_a_pool_and_what_the_pool_says_are_compared(machine: Machine, small: Path) -> None:
    """G5: with both numbers."""
    state = STATES["transaction ids"]
    shell(machine, state, states.IDS, code=None)
    said = machine.fab("pool.check", *state.options, code=1)
    assert "the pool's transaction id is 0, LVM expects 5" in said
    out(machine.fab, machine, hint_in(said))
    well(machine, STATES["thin volume of LVM's"], small)


def test_f15_a_new_pool_is_not_made_under_the_state_of_another(machine: Machine, small: Path) -> None:
    machine.ssh(f"""systemctl stop containerd devmapper-pool@{LOOP}; rm /etc/devmapper-pool/{LOOP}.conf
        mkdir /root/old; mv {DIR}/data {DIR}/meta /root/old""")
    before = machine.ssh("dmsetup ls; ls /etc/devmapper-pool /etc/systemd/system")
    for task in ("pool.loop", "deploy"):
        said = machine.fab(task, code=2)
        assert "has images and containers on a pool that is gone" in said
    assert "on a pool that is gone" in machine.fab("doctor", code=1)
    assert machine.ssh("dmsetup ls; ls /etc/devmapper-pool /etc/systemd/system") == before
    out(machine.fab, machine, hint_in(said).partition("; or ")[2])
    machine.fab("deploy")
    well(machine, STATES["databases gone"], small)


def test_f16_the_remaining_room_is_reported_before_it_is_too_little(machine: Machine) -> None:
    assert "can still be written before / is full" in machine.fab("doctor")
