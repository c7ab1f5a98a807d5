"""pool.repair from end to end: what it stops, in which order, and what a failure leaves."""

from __future__ import annotations

import msgspec
import pytest

from fabfile.facts import Facts
from fabfile.facts.volume_group import LogicalVolume
from fabfile.pool.maintain.check import Checked
from fabfile.pool.maintain.thin_devices import DatabaseEntry
from tests.unit.pool import databases, groups
from tests.unit.pool.loops import NAME
from tests.unit.pool.machines import (
    POOLS,
    Make,
    both,
    done,
    full,
    on_disks,
    on_files,
    packed,
    trouble,
    with_pool,
    with_status,
    without,
)

LIVE = "a snapshot of its live metadata"
KNOWN = packed(
    db=databases.pool({f"pool-snap-{id}": DatabaseEntry(id, f"pool-snap-{id}", "", "Activated", 1) for id in (1, 2)}, 2)
)
KEPT = "@kept /srv/pool/meta.2026"
SAYS = {
    "thin_check": f"bad checksum in block 7\n@checked 1 {LIVE}",
    "thin_repair": "id 1 16 0\nid 2 16 0\n",
    "devices that containerd uses": KNOWN,
    "the new metadata takes": KEPT,
}
LOST = SAYS | {"thin_repair": "id 1 16 0\n@kept /dev/containerd/thinpool_meta0\n"}
"""The repaired metadata lacks a device that containerd uses."""


def check(name: str) -> str:
    return f"thin_check of the pool {name}"


def stop(name: str) -> str:
    return f"stop containerd.service and the pool {name}"


def start(name: str) -> str:
    return f"start the pool {name} and containerd.service"


def whole(name: str) -> list[str]:
    """Everything that a repair does, in order; for a direct pool, LVM itself swaps the metadata."""
    swap = ["the new metadata takes the place of the old, which is kept"]
    return [
        check(name),
        stop(name),
        f"thin_repair of {name} into new metadata",
        "devices that containerd uses",
        *(swap if name == NAME else []),
        start(name),
        "keep at most 2 old copies of the metadata",
    ]


@both
def test_a_sound_pool_stays_as_it_is(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says={"thin_check": f"@ids 0 0\n@checked 0 {LIVE}"})
    report = done("pool.repair", c)
    assert c.done == [check(name)]
    assert (report.status, report.result) == ("ok", Checked(name, True, LIVE))


@both
def test_a_sound_pool_that_is_down_is_only_started(machine: Make, name: str) -> None:
    down = with_pool(POOLS[name](), table=None, status=None, active=False)
    c = machine(down, down, POOLS[name](), says={"thin_check": "@ids 0 0\n@checked 0 all of it"})
    assert done("pool.repair", c).status == "changed"
    assert c.done == [check(name), start(name)]


@both
def test_damaged_metadata_is_replaced_between_the_stop_and_the_start(
    machine: Make, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    c = machine(POOLS[name](), says=SAYS)
    report = done("pool.repair", c)
    assert (report.status, c.done) == ("changed", whole(name))
    assert report.result == Checked(name, False, LIVE), "what was found, not what it is by now"
    said = capsys.readouterr().out
    assert "bad checksum in block 7" in said and f"pool {name}: rw; containerd.service runs" in said
    if name == NAME:
        assert "the old metadata: /srv/pool/meta.2026" in said


def test_what_the_kernel_found_damaged_is_not_checked_again(machine: Make) -> None:
    c = machine(with_status(on_files(), mode="ro", needs_check=True), on_files(), says=SAYS)
    c.states.insert(0, c.states[0])  # the pool is looked for under the name of the inventory first
    assert done("pool.repair", c).status == "changed"
    assert c.done == whole(NAME)[1:]


@pytest.mark.parametrize("yes", [False, True])
@both
def test_a_loss_needs_yes_before_the_new_metadata_is_used(machine: Make, name: str, yes: bool) -> None:
    c = machine(POOLS[name](), says=LOST)
    report = done("pool.repair", c, yes=yes)
    if yes:
        assert (report.status, c.done) == ("changed", whole(name))
        return
    error = trouble(report, "failed")
    assert "pool-snap-2: thin id 2 (Activated) is not in it" in error.details
    assert ("pool-snap-1" in error.details, "--yes" in error.hint, "pool.restore" in error.hint) == (False, True, True)
    where = "/srv/pool/meta.candidate" if name == NAME else "/dev/containerd/thinpool_meta0"
    assert where in error.details, "nothing is thrown away"
    assert c.done == whole(name)[:4], "containerd does not get a pool that lacks its devices"


@both
def test_metadata_that_cannot_be_repaired_is_not_put_to_use(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), says=SAYS, fails={"thin_repair": 1})
    error = trouble(done("pool.repair", c), "failed")
    assert error.what == f"pool.repair: thin_repair of {name} into new metadata: failed"
    assert c.done == whole(name)[:3]


def test_a_pool_that_does_not_work_after_it_is_a_failure(machine: Make) -> None:
    ill = with_status(on_files(), mode="ro", needs_check=True)
    c = machine(on_files(), on_files(), ill, says=SAYS)
    error = trouble(done("pool.repair", c), "failed")
    assert error.what == f"pool.repair: the pool {NAME} does not work" and "needs_check" in error.details
    assert c.done == whole(NAME)[:-1], "the old metadata may still be needed"


@both
def test_a_pool_in_use_is_refused_before_it_is_stopped(machine: Make, name: str) -> None:
    c = machine(
        POOLS[name](), says=SAYS, asked={"blockers\n": "container web runs, in the namespace default (pid 7)\n"}
    )
    error = trouble(done("pool.repair", c), "refused")
    assert error.what == f"pool.repair: the pool {name} is in use" and "--force" in error.hint
    assert c.done == [check(name)]


def test_a_device_that_nobody_releases_takes_a_reboot(machine: Make) -> None:
    c = machine(on_files(), says=SAYS, asked={"blockers\n": "pool-snap-1: only a reboot releases it\n"})
    assert "reboot the host" in trouble(done("pool.repair", c, force=True), "refused").hint


@both
def test_metadata_that_is_only_full_is_left_alone(machine: Make, name: str) -> None:
    c = machine(full(POOLS[name]()), says=SAYS)
    error = trouble(done("pool.repair", c, yes=True), "refused")
    assert error.what == f"the metadata of the pool {name} needs no repair" and "pool.grow" in error.hint
    assert c.done == []


def test_a_missing_program_is_refused_first(machine: Make) -> None:
    c = machine(without(on_files(), "thin_repair"), says=SAYS)
    assert trouble(done("pool.repair", c), "refused").what.startswith("thin_repair is missing")
    assert c.done == []


@both
def test_dry_shows_the_repair_and_runs_no_check(machine: Make, name: str) -> None:
    c = machine(POOLS[name](), dry=True)
    report = done("pool.repair", c)
    assert [change.why for change in report.steps[0].changes] == whole(name)[1:]
    assert (report.status, c.done) == ("pending", [])
    assert "apply" not in c.log


# LVM's record of a direct pool.


def with_thin() -> Facts:
    """A machine on which LVM created a thin volume in the pool."""
    have = on_disks()
    assert have.lvm and have.lvm.group
    own = LogicalVolume("other", "thin", 1 << 30, pool="thinpool", thin=1, uuid="u-1")
    return groups.with_group(have, volumes=have.lvm.group.volumes | {"other": own})


RELABEL = "LVM's transaction id of containerd/thinpool becomes the pool's, and both 0"
SAYS_LVM = SAYS | {"LVM's transaction id": "@relabelled 3 /etc/lvm/archive/before.vg"}
LISTING = "devices that containerd uses"


def test_lvm_forgets_its_volumes_only_with_yes(machine: Make) -> None:
    c = machine(with_thin(), says=SAYS_LVM)
    error = trouble(done("pool.repair", c), "refused")
    assert error.what == "LVM has thin volumes of its own in containerd/thinpool"
    assert "its thin id 1 is containerd's pool-snap-1, which stays" in error.details and "--yes" in error.hint
    assert c.done == [LISTING]


def test_lvms_record_is_changed_while_the_pool_is_down(machine: Make, capsys: pytest.CaptureFixture[str]) -> None:
    c = machine(with_thin(), says=SAYS_LVM)
    report = done("pool.repair", c, yes=True)
    assert (report.status, c.done) == ("changed", [LISTING, stop(groups.NAME), RELABEL, start(groups.NAME)])
    said = capsys.readouterr().out
    assert "LVM forgets its volume containerd/other" in said and "/etc/lvm/archive/before.vg" in said


@pytest.mark.parametrize("broken", [{"fails": {"LVM's transaction id": 1}}, {"says": SAYS}])
def test_where_lvms_record_cannot_be_changed_the_pool_is_started_again(
    machine: Make, broken: dict[str, dict[str, str]]
) -> None:
    c = machine(with_thin(), **({"says": SAYS_LVM} | broken))
    error = trouble(done("pool.repair", c, yes=True), "failed")
    assert RELABEL in error.what or "was not changed" in error.what
    assert c.done == [LISTING, stop(groups.NAME), RELABEL, start(groups.NAME)]


def test_damaged_metadata_and_lvms_record_are_corrected_in_one_stop(machine: Make) -> None:
    c = machine(on_disks(), says=SAYS_LVM | {"thin_check": f"bad\n@ids 3 0\n@checked 1 {LIVE}"})
    report = done("pool.repair", c)
    assert (report.status, report.result.looked_at) == ("changed", LIVE)
    assert c.done == [*whole(groups.NAME)[:4], RELABEL, *whole(groups.NAME)[4:]]


def test_a_mounted_volume_of_lvms_is_refused_even_with_yes(machine: Make) -> None:
    have = with_thin()
    assert have.lvm and have.lvm.group
    volumes = have.lvm.group.volumes
    volumes = volumes | {"other": msgspec.structs.replace(volumes["other"], open=True)}
    c = machine(groups.with_group(have, volumes=volumes), says=SAYS_LVM)
    assert "is open" in trouble(done("pool.repair", c, yes=True), "refused").details
    assert c.done == []
