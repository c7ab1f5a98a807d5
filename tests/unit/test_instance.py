"""The paths of the default containerd are the ones that everybody knows; those of an instance are nobody else's."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import Refused
from fabfile.host import Host, Pool
from fabfile.instance import Daemon, check_instance
from fabfile.inventory import on_instance

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True).filter(
    lambda name: name not in ("config_path", "devmapper")
)
PATHS = (
    "unit",
    "unit_path",
    "drop_in_path",
    "config_path",
    "mke2fs_path",
    "root",
    "state",
    "socket",
    "nri",
    "smoke_record_path",
)


def paths(name: str) -> set[str]:
    return {getattr(Daemon(name), path) for path in PATHS}


def test_the_default_is_where_everybody_looks_for_it() -> None:
    default = Daemon()
    assert (default.unit, default.config_path) == ("containerd.service", "/etc/containerd/config.toml")
    assert (default.root, default.socket) == ("/var/lib/containerd", "/run/containerd/containerd.sock")
    assert (default.ctr, default.command) == ("/usr/local/bin/ctr", "/usr/local/bin/containerd")


def test_an_instance_has_its_own() -> None:
    two = Daemon("two")
    assert (two.unit, two.config_path) == ("containerd-two.service", "/etc/containerd/two.toml")
    assert (two.root, two.state) == ("/var/lib/containerd-two", "/run/containerd-two")
    assert two.drop_in_path == "/etc/systemd/system/containerd-two.service.d/10-devmapper-pool.conf"
    assert two.ctr == "/usr/local/bin/ctr --address /run/containerd-two/containerd.sock"
    assert two.command == "/usr/local/bin/containerd --config /etc/containerd/two.toml"


@given(NAMES, NAMES)
def test_no_two_instances_share_a_path(one: str, other: str) -> None:
    check_instance(one)
    assert not paths(one) & paths("")
    assert "/var/lib/containerd-devmapper" not in paths(one)
    assert one == other or not paths(one) & paths(other)
    assert len(Daemon(one).socket + ".ttrpc") < 108  # sun_path


@given(NAMES)
def test_its_words_are_words(name: str) -> None:
    assert shlex.split(Daemon(name, "/opt/a b").ctr) == ["/opt/a b/ctr", "--address", Daemon(name).socket]


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a b", "A", "a" * 33, "a.b", "a@b", "../a", "a\n"])
def test_a_name_that_no_path_carries_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="is not an instance's name"):
        check_instance(name)


@pytest.mark.parametrize("name", ["config", "devmapper"])
def test_a_name_whose_paths_belong_to_something_else_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="is taken"):
        check_instance(name)


def test_an_instance_gets_a_pool_of_its_own_and_the_sizes_of_the_inventory() -> None:
    host = Host(pool=Pool(name="big", dir="/srv/big", size="7G", devices=("/dev/vdb",), volume="vg/lv"))
    two = on_instance(host, "two")
    assert (two.instance, two.pool.name, two.pool.dir) == ("two", "two-pool", "/var/lib/containerd-two/devmapper")
    assert (two.pool.size, two.pool.devices, two.pool.vg, two.pool.volume) == ("7G", (), "containerd-two", "")


def test_what_the_inventory_says_of_its_own_instance_holds() -> None:
    host = Host(instance="two", pool=Pool(name="big", devices=("/dev/vdb",)))
    for asked in ("", "two"):
        two = on_instance(host, asked)
        assert (two.pool.name, two.pool.dir) == ("big", "/var/lib/containerd-two/devmapper")
        assert two.pool.devices == ("/dev/vdb",)
    assert on_instance(host, "three").pool.name == "three-pool"


def test_default_is_the_default() -> None:
    assert on_instance(Host(), "") == on_instance(Host(), "default") == on_instance(Host(instance="default")) == Host()
    named = on_instance(Host(instance="two", pool=Pool(name="big", size="7G")), "default")
    assert (named.instance, named.pool) == ("", Pool(size="7G"))
