"""Every command names each state of a loop pool, and the remedy it prints works when typed as printed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.remedy import Place, hint_in, named_and_fixed, out
from tests.integration.states import DIR, LOOP, ON_FILES


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, suite: str, golden: Golden) -> Iterator[Place]:
    """The default containerd on a pool on files."""
    with started(request, suite, base=golden.disk) as machine:
        place = Place(machine, LOOP)
        place.fill()
        yield place


@pytest.mark.parametrize("name", ON_FILES)
def test_a_state_is_named_by_every_command_and_has_a_fix(place: Place, name: str) -> None:
    named_and_fixed(place, ON_FILES[name])


def test_f15_a_new_pool_is_not_made_under_the_state_of_another(place: Place) -> None:
    machine = place.machine
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
    place.well(kept=False)


def test_f16_the_remaining_room_is_reported_before_it_is_too_little(place: Place) -> None:
    assert "can still be written before / is full" in place.fab("doctor")
