"""What hosts are compared by."""

from __future__ import annotations

import msgspec

from fabfile import traits
from fabfile.facts.instances import DevmapperSettings, Instances
from tests.unit.pool import groups, loops, machines
from tests.unit.steps.conftest import having, with_versions


def test_a_host_without_a_pool_has_none_of_its_traits() -> None:
    assert traits.of(having(), "pool") == {
        "system": "debian 12", "kernel": "6.1", "containerd": "none", "go": "none", "protoc": "none", "runc": "none",
        "pool": "none",
    }  # fmt: skip


def test_versions_are_those_in_use() -> None:
    have = with_versions("runc", current="1.3.3-0123456789ab", installed=frozenset({"1.3.2-0123456789ab"}))
    assert traits.of(have, "pool")["runc"] == "1.3.3-0123456789ab"


def test_sizes_and_settings_of_a_loop_pool_by_the_keys_of_hosts_toml() -> None:
    have = loops.machine(threshold=90, percent=25, max_size="300G")
    configs = {"/etc/containerd/config.toml": DevmapperSettings(pool=loops.NAME, base_image_size="10GB")}
    have = msgspec.structs.replace(have, instances=msgspec.structs.replace(have.instances, configs=configs))
    found = {key: value for key, value in traits.of(have, loops.NAME).items() if key.startswith("pool")}
    assert found == {
        "pool": "loop", "pool.threshold": "90", "pool.percent": "25", "pool.max_size": "300G",
        "pool.base_image_size": "10GB", "pool.size": "100G", "pool.meta_size": "75M", "pool.block_size": "64K",
        "pool.when_full": "queue",
    }  # fmt: skip


def test_a_direct_pool() -> None:
    found = traits.of(machines.on_disks(), groups.NAME)
    assert (found["pool"], found["pool.block_size"]) == ("direct", "512K")


def test_a_pool_of_somebody_else() -> None:
    have = msgspec.structs.replace(loops.machine(), instances=Instances())
    found = traits.of(have, loops.NAME)
    assert (found["pool"], found["pool.size"]) == ("not managed", "100G")
    assert "pool.threshold" not in found


def test_a_pool_that_is_down_is_a_pool() -> None:
    down = loops.machine(loops.pool(table=None, status=None))
    assert traits.of(down, loops.NAME)["pool"] == "loop"
    assert "pool.size" not in traits.of(down, loops.NAME)
