"""Every command names each state of a full pool, and the remedy it prints works when typed as printed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.remedy import Place, described, named_and_fixed
from tests.integration.states import FULL_ONES

SETTINGS = """
[defaults.pool]
size = "96M"
meta_size = "2M"
base_image_size = "512MB"
threshold = 100
"""
"""It is full soon, and does not grow by itself."""


@pytest.fixture(scope="module")
def place(
    request: pytest.FixtureRequest, suite: str, golden: Golden, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """The instance `small` on small files, beside the default containerd."""
    with started(request, suite, base=golden.disk) as machine:
        inventory = described(machine, tmp_path_factory.mktemp("small"), SETTINGS)
        place = Place(machine, "small-pool", "small", inventory)
        place.fab("deploy", *place.options)
        place.fill()
        yield place


@pytest.mark.parametrize("name", FULL_ONES)
def test_a_state_is_named_by_every_command_and_has_a_fix(place: Place, name: str) -> None:
    named_and_fixed(place, FULL_ONES[name])


def test_a_pool_gives_back_room_where_the_disk_is_full(place: Place) -> None:
    machine = place.machine
    machine.ssh("cat /dev/zero >/ballast 2>/dev/null; sync", code=None)
    assert machine.ssh("df --output=avail / | tail -n 1").strip() == "0"
    assert "used of the pool" in machine.fab("pool.trim")
    assert ": sound (" in machine.fab("pool.check")
    assert "they agree" in machine.fab("pool.fsck")
    machine.ssh("rm /ballast")
