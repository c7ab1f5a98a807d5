"""Every command names each state of a direct pool, and the remedy it prints works when typed as printed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.remedy import Place, described, hint_in, named_and_fixed, out
from tests.integration.states import IDS, ON_A_DISK, TWO


@pytest.fixture(scope="module")
def place(
    request: pytest.FixtureRequest, suite: str, golden: Golden, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """The instance `two` on a disk, beside the default containerd on a pool on files."""
    with started(request, suite, base=golden.disk) as machine:
        inventory = described(machine, tmp_path_factory.mktemp("two"), '[defaults.pool]\nvariant = "direct"\n')
        place = Place(machine, TWO, "two", inventory)
        place.fab("deploy", *place.options, "--device", "/dev/disk/by-id/virtio-lab-disk")
        place.fill()
        yield place


@pytest.mark.parametrize("name", ON_A_DISK)
def test_a_state_is_named_by_every_command_and_has_a_fix(place: Place, name: str) -> None:
    named_and_fixed(place, ON_A_DISK[name])


def test_what_lvm_asks_of_a_pool_and_what_the_pool_says_are_compared(place: Place) -> None:
    """G5: with both numbers."""
    place.shell(IDS, code=None)
    said = place.fab("pool.check", *place.options, code=1)
    assert "the pool's transaction id is 0, LVM expects 5" in said
    out(place.fab, place.machine, hint_in(said))
    place.well()


def test_an_older_record_of_lvms_is_not_taken_for_damage(place: Place) -> None:
    """A repair of what an archive from before a growth leaves of the metadata made new, empty metadata."""
    unit, group = f"devmapper-pool@{TWO}", "containerd-two"
    place.shell(f"""vgcfgbackup -q -f /root/old {group}; lvextend -q -y -L +100M --poolmetadatasize +8M {group}/thinpool
        vgcfgbackup -q -f /root/new {group}; vgcfgrestore -q -y --force -f /root/old {group}""")
    assert "of data, LVM gives it" in place.fab("doctor", code=1)
    place.shell(f"systemctl stop $daemon {unit}; systemctl start {unit}", code=None)
    for task in (["pool.check"], ["pool.repair"], ["pool.restore", "--yes"]):
        said = place.fab(*task, *place.options, code=1)
        assert "LVM's record of containerd-two/thinpool is older than the pool" in said
        assert f"vgcfgrestore --force -f FILE {group}" in hint_in(said)
    place.shell(f"vgcfgrestore -q -y --force -f /root/new {group}; systemctl start {unit} $daemon")
    place.well()
