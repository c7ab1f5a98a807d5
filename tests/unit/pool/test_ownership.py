"""One pool and one directory per containerd, and no move of an existing one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts import Facts, instances, pool
from fabfile.facts.instances import DevmapperSettings, Instances
from fabfile.facts.known import DatabaseCounts
from fabfile.host import Host
from fabfile.host import Pool as Settings
from fabfile.instance import Daemon
from fabfile.pool import ownership
from fabfile.pool.loop import loop_pool
from fabfile.steps import config
from tests.unit.fakes import recorded
from tests.unit.pool import groups
from tests.unit.steps.conftest import having, with_versions

ONE, TWO = Daemon(), Daemon("two")
ONE_DIR, TWO_DIR = "/var/lib/containerd/devmapper", "/var/lib/containerd-two/devmapper"


def both(**changes: Any) -> Facts:
    """A machine with two containerds."""
    return having(instances=instances.parse(recorded("instances", "two")), **changes)


def one(**changes: Any) -> Facts:
    """A machine that was deployed."""
    return having(instances=instances.parse(recorded("instances", "deployed")), **changes)


def used(data: int) -> pool.Pool:
    return pool.Pool(status=pool.Status(1, 2, data, 100, "rw", needs_check=False))


@pytest.mark.parametrize(
    ("daemon", "name", "dir"), [(ONE, "containerd-pool", ONE_DIR), (TWO, "two-pool", TWO_DIR + "/")]
)
def test_an_existing_deployment_is_not_refused(daemon: Daemon, name: str, dir: str) -> None:
    ownership.refuse_foreign(both(), daemon, name, dir)
    ownership.refuse_move(both(), daemon, name, dir)
    ownership.refuse_base_image_size(both(pool=used(5)), daemon, "10GiB")


@pytest.mark.parametrize(
    ("daemon", "name", "dir", "evidence"),
    [
        (TWO, "containerd-pool", TWO_DIR, "the pool containerd-pool was made for the default containerd"),
        (TWO, "two-pool", ONE_DIR, f"{ONE_DIR} holds the pool containerd-pool"),
        (ONE, "two-pool", ONE_DIR, "the pool two-pool was made for the containerd instance two"),
        (Daemon("three"), "three-pool", TWO_DIR + "/", f"{TWO_DIR} holds the pool two-pool"),
    ],
)
def test_what_another_containerd_uses_is_refused(daemon: Daemon, name: str, dir: str, evidence: str) -> None:
    with pytest.raises(Refused, match="another containerd on the host") as refused:
        ownership.refuse_foreign(both(), daemon, name, dir)
    assert evidence in refused.value.details


@pytest.mark.parametrize(
    ("config", "evidence"),
    [
        (DevmapperSettings(pool="two-pool"), "/etc/containerd/mine.toml names the pool two-pool"),
        (DevmapperSettings(pool_root=TWO_DIR), f"names the directory {TWO_DIR}"),
        (DevmapperSettings(root=TWO.root + "/"), f"names the root {TWO.root}"),
    ],
)
def test_a_containerd_that_somebody_made_by_hand_counts_too(config: DevmapperSettings, evidence: str) -> None:
    have = having(instances=Instances(configs={"/etc/containerd/mine.toml": config}))
    with pytest.raises(Refused) as refused:
        ownership.refuse_foreign(have, TWO, "two-pool", TWO_DIR)
    assert evidence in refused.value.details


@pytest.mark.parametrize(
    ("name", "dir", "variant", "evidence"),
    [
        ("other", ONE_DIR, "loop", "pool: it has containerd-pool, requested: other"),
        ("containerd-pool", "/srv/other", "loop", f"directory: it has {ONE_DIR}, requested: /srv/other"),
        ("containerd-pool", ONE_DIR, "direct", "variant: it has loop, requested: direct"),
    ],
)
def test_a_move_is_refused_with_both_values_and_the_fix(name: str, dir: str, variant: str, evidence: str) -> None:
    with pytest.raises(Refused, match="the default containerd is configured for another pool") as refused:
        ownership.refuse_move(one(), ONE, name, dir, variant)
    assert evidence in refused.value.details
    assert "pool.reset --name containerd-pool --yes" in refused.value.hint
    assert "--instance" in refused.value.hint


def test_a_pool_that_is_gone_left_nothing_to_break() -> None:
    left = msgspec.structs.replace(one().instances, settings={}, active=frozenset())
    have = having(instances=left)
    ownership.refuse_move(have, ONE, "other", "/srv/other", "direct")
    ownership.refuse_base_image_size(have, ONE, "20GB")
    with pytest.raises(Refused):  # without our settings, but the kernel has it
        ownership.refuse_move(
            having(instances=msgspec.structs.replace(left, active=frozenset({"containerd-pool"}))), ONE, "o", "/d"
        )


STATE = DatabaseCounts(0, 1, 1, ("/var/lib/containerd/devmapper/metadata.db",))


@pytest.mark.parametrize(
    "changes", [{}, {"settings": {}, "active": frozenset({"containerd-pool"})}, {"configs": {}, "active": frozenset()}]
)
def test_a_pool_that_is_there_is_never_called_gone(changes: dict[str, Any]) -> None:
    """It is recorded and configured; only configured, and up; or only recorded."""
    have = one(known=STATE)
    have = msgspec.structs.replace(have, instances=msgspec.structs.replace(have.instances, **changes))
    with pytest.raises(Refused, match="the default containerd has images and containers on another pool") as refused:
        ownership.refuse_stale(have, ONE, "containerd-thinpool")
    assert "its pools: containerd-pool" in refused.value.details
    assert " mv " not in refused.value.hint


def test_a_direct_pool_beside_the_one_in_use_is_refused_as_a_move() -> None:
    have = groups.fresh(known=STATE, instances=one().instances)
    refused = groups.refused(have, groups.asked())
    assert refused.what == "the default containerd is configured for another pool"
    assert "variant: it has loop, requested: direct" in refused.details


@pytest.mark.parametrize(("size", "why"), [("5GB", "smaller than its file system"), ("20GB", "keep the old size")])
def test_another_base_image_size_is_refused_either_way(size: str, why: str) -> None:
    with pytest.raises(Refused, match="another base image size") as refused:
        ownership.refuse_base_image_size(one(pool=used(5)), ONE, size)
    assert f"it has 10GB, requested: {size}" in refused.value.details
    assert why in refused.value.details


def test_an_empty_pool_takes_another_base_image_size() -> None:
    ownership.refuse_base_image_size(one(pool=used(0)), ONE, "20GB")
    with pytest.raises(Refused, match="is too small"):
        ownership.refuse_base_image_size(one(pool=used(0)), ONE, "20")


def test_pool_and_configuration_refuse_a_move_alike(mirror: str) -> None:
    have = with_versions("containerd", current="1.6.20-k", installed=frozenset({"1.6.20-k"}))
    have = msgspec.structs.replace(
        have, instances=one().instances, pool=pool.Pool(place=pool.Place("ext4", "/", 1 << 40))
    )
    host = Host(release="lab", mirror=mirror, pool=Settings(name="other", dir="/srv/other"))
    for step in (loop_pool.step(host), config.step(host)):
        with pytest.raises(Refused, match="is configured for another pool"):
            step.plan(have)


def test_a_pool_of_an_instance_says_so_and_comes_before_its_containerd() -> None:
    have = having(pool=pool.Pool(place=pool.Place("ext4", "/", 1 << 40)))
    text = str(loop_pool.step(Host(instance="two", pool=Settings(name="two-pool", dir=TWO_DIR, size="5G"))).plan(have))
    assert "INSTANCE=two" in text
    assert "Before=containerd-two.service" in text
    assert "INSTANCE" not in str(loop_pool.step(Host(pool=Settings(size="5G"))).plan(have))
