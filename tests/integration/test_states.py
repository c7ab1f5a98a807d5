"""Every state says what it is in each command, and is led out of by what that says, typed as it stands.

One machine: the default containerd on a pool on files, the instance `two` on a disk; on each a container with a file.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from tests.integration import states
from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.machine import Machine
from tests.integration.states import CTR, DIR, END, LOOP, STATES, TWO, State, hint_in, out
from tests.integration.test_instance import registry


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, suite: str, golden: Golden) -> Iterator[Machine]:
    """A machine with both pools, and a backup of each with all that is on it."""
    with started(request, suite, base=golden.disk) as machine:
        device = "/dev/disk/by-id/virtio-lab-disk"
        machine.fab("deploy", "--instance", "two", "--variant", "direct", "--device", device)
        image = f"{registry(machine)}/library/busybox:latest"
        for ctr, options in (("ctr", []), (CTR, ["--instance", "two"])):
            machine.ssh(f"{ctr} images pull --plain-http --snapshotter devmapper {image}")
            machine.ssh(f"{ctr} containers create --snapshotter devmapper {image} kept")
            machine.in_snapshot("kept", "echo still here >file", ctr)
            machine.fab("pool.backup", *options)
        yield machine


def shell(machine: Machine, state: State, script: str, code: int | None = 0) -> str:
    """Run a row's shell."""
    values = {
        "image": f"{registry(machine)}/library/busybox:latest",
        "ctr": CTR if state.direct else "ctr",
        "pool": TWO if state.direct else LOOP,
        "unit": f"devmapper-pool@{TWO if state.direct else LOOP}.service",
        "daemon": "containerd-two" if state.direct else "containerd",
    }
    return machine.ssh("".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items()) + script, code)


def well(machine: Machine, state: State) -> None:
    """doctor and deploy are content, and nothing of the container is lost that was not said to be."""
    assert " fail " not in machine.fab("doctor", *state.options)
    machine.fab("deploy", *state.variant)
    assert "they agree" in machine.fab("pool.fsck", *state.options)
    if state.kept:
        assert machine.in_snapshot("kept", "cat file", CTR if state.direct else "ctr") == "still here\n"


@pytest.mark.parametrize("name", STATES)
def test_a_state_is_named_by_every_command_and_has_a_way_out(machine: Machine, name: str) -> None:
    state = STATES[name]
    shell(machine, state, state.make, code=None)
    said = machine.fab("doctor", *state.options, code=1)
    assert state.says in said
    hint = hint_in(said, state.says)
    assert state.says in machine.fab("pool.status", *state.options, code=state.status)
    said = machine.fab("pool.check", *state.options, code=state.check)
    assert state.check != 2 or state.says in said
    if state.deploy:  # where it is 0, a deploy is another way out: here the one that doctor names is tried
        assert state.says in machine.fab("deploy", *state.variant, code=state.deploy)
    assert state.way in hint
    said = out(machine, hint, code=None if state.then else 0)
    for words in state.then:
        hint = hint_in(said)
        assert all(word in hint for word in words), hint
        said = out(machine, hint, code=None)
    if " pool.fsck " in said and "to repair that" in said:
        out(machine, said[said.index("to repair that") :])
    shell(machine, state, END, code=None)
    well(machine, state)


def test_what_lvm_asks_of_a_pool_and_what_the_pool_says_are_compared(machine: Machine) -> None:
    """G5: with both numbers."""
    state = STATES["transaction ids"]
    shell(machine, state, states.IDS, code=None)
    said = machine.fab("pool.check", *state.options, code=1)
    assert "the pool's transaction id is 0, LVM expects 5" in said
    out(machine, hint_in(said))
    well(machine, STATES["thin volume of LVM's"])


def test_f15_a_new_pool_is_not_made_under_the_state_of_another(machine: Machine) -> None:
    machine.ssh(f"""systemctl stop containerd devmapper-pool@{LOOP}; rm /etc/devmapper-pool/{LOOP}.conf
        mkdir /root/old; mv {DIR}/data {DIR}/meta /root/old""")
    before = machine.ssh("dmsetup ls; ls /etc/devmapper-pool /etc/systemd/system")
    for task in ("pool.loop", "deploy"):
        said = machine.fab(task, code=2)
        assert "has images and containers on a pool that is gone" in said
    assert "on a pool that is gone" in machine.fab("doctor", code=1)
    assert machine.ssh("dmsetup ls; ls /etc/devmapper-pool /etc/systemd/system") == before
    out(machine, hint_in(said).partition("; or ")[2])
    machine.fab("deploy")
    well(machine, STATES["databases gone"])


def test_f16_what_can_still_be_written_is_told_before_it_is_too_little(machine: Machine) -> None:
    assert "can still be written before / is full" in machine.fab("doctor")
