"""hosts.toml → hosts: defaults under a host's own keys, names and groups in the order given."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from invoke import Context

from fabfile import inventory, paths, selection
from fabfile.errors import Refused
from fabfile.host import Host, Pool
from fabfile.inventory import Inventory

FLEET = """
[defaults]
user = "admin"
parallel = 4

[defaults.pool]
size = "200G"
block_size = "128K"

[groups]
builders = ["b", "a"]
nobody = []

[hosts.a]
address = "192.0.2.1"

[hosts.b]
port = 2222
user = "root"
gateway = "a"

[hosts.b.pool]
size = "400G"
"""


def load(text: str) -> Inventory:
    """The inventory that HOSTS_FILE names, with this text."""
    paths.inventory().write_text(text)
    return inventory.load()


def names(hosts: list[Host]) -> list[str]:
    """The hosts' names."""
    return [host.name for host in hosts]


def test_an_empty_file_is_a_machine_with_our_defaults() -> None:
    empty = load("")
    assert empty.hosts == {}
    assert empty.defaults == Host()
    assert empty.parallel == 16


def test_the_file_in_the_repository_loads() -> None:
    assert inventory.load(paths.REPOSITORY / "hosts.toml").defaults.pool.size == "100G"


def test_a_host_has_the_defaults_under_its_own_keys() -> None:
    fleet = load(FLEET)
    assert fleet.parallel == 4
    assert fleet.hosts["a"] == Host(
        name="a", address="192.0.2.1", user="admin", pool=Pool(size="200G", block_size="128K")
    )
    assert fleet.hosts["b"] == Host(
        name="b", address="b", port=2222, user="root", gateway="a", pool=Pool(size="400G", block_size="128K")
    )


def test_hosts_means_all_in_the_order_of_the_file() -> None:
    assert names(load(FLEET).resolve(["hosts"])) == ["a", "b"]


def test_a_group_is_its_members_in_its_order() -> None:
    assert names(load(FLEET).resolve(["builders"])) == ["b", "a"]


def test_a_host_named_twice_is_there_once() -> None:
    assert names(load(FLEET).resolve([" b ", "", "hosts", "builders", "b"])) == ["b", "a"]


@pytest.mark.parametrize("asked", [["c"], ["a", "c"], ["hosts,a"], ["A"]])
def test_a_name_that_is_neither_is_refused_with_what_is_known(asked: list[str]) -> None:
    with pytest.raises(Refused, match="no host or group") as refused:
        load(FLEET).resolve(asked)
    assert refused.value.details == "known: a, b, builders, nobody, hosts"


def test_a_near_miss_is_recognised() -> None:
    with pytest.raises(Refused) as refused:
        load(FLEET).resolve(["bulders"])
    assert refused.value.hint == "did you mean 'builders'?"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("a bb", "names are separated by commas: -H a,bb"),
        ("builders a", "names are separated by commas: -H builders,a"),
        ("a $(id) b", "names are separated by commas: -H 'a,$(id),b'"),
        ("-x", "-H takes names of hosts and groups: fab -H hosts TASK"),
        ("--hosts", "-H takes names of hosts and groups: fab -H hosts TASK"),
    ],
)
def test_what_no_host_is_called_is_not_offered_as_a_host(typed: str, hint: str) -> None:
    with pytest.raises(Refused, match="no host or group") as refused:
        load(FLEET).resolve([typed])
    assert refused.value.hint == hint


@pytest.mark.parametrize("asked", [[], [""], ["nobody"]])
def test_no_host_at_all_is_refused(asked: list[str]) -> None:
    with pytest.raises(Refused, match="no hosts match"):
        load(FLEET).resolve(asked)


def test_all_of_an_empty_inventory_is_refused_with_lines_that_make_it_good() -> None:
    with pytest.raises(Refused, match="has no hosts") as refused:
        load("").resolve(["hosts"])
    (host,) = load(refused.value.hint.partition("\n")[2]).resolve(["hosts"])
    assert host.address == "192.0.2.1"


@pytest.mark.parametrize(
    ("typed", "name", "address", "user", "port"),
    [
        ("192.0.2.9", "192.0.2.9", "192.0.2.9", "admin", 22),
        ("web1", "web1", "web1", "admin", 22),
        ("2001:db8::1", "2001-db8-1", "2001:db8::1", "admin", 22),
    ],
)
def test_a_host_that_is_not_there_is_refused_with_the_lines_to_append(
    typed: str, name: str, address: str, user: str, port: int
) -> None:
    with pytest.raises(Refused) as refused:
        load(FLEET).resolve([typed])
    says, _, lines = refused.value.hint.partition("\n")
    assert says == f"append these lines to {paths.inventory()}:"
    host = load(f"{FLEET}\n{lines}\n").hosts[name]
    assert (host.address, host.user, host.port) == (address, user, port)


@given(st.text(max_size=40))
def test_the_lines_to_append_are_an_inventory_whatever_was_typed(
    tmp_path_factory: pytest.TempPathFactory, typed: str
) -> None:
    file: Path = tmp_path_factory.mktemp("lines") / "hosts.toml"
    file.write_text(selection.lines(file, typed).partition("\n")[2])
    assert len(inventory.load(file).hosts) == 1


def test_the_same_private_address_behind_two_gateways_is_two_machines() -> None:
    text = "[hosts.g]\n[hosts.h]\n"
    text += "".join(f'[hosts.{g}1]\naddress = "10.0.0.1"\ngateway = "{g}"\n' for g in "gh")
    assert list(load(text).hosts) == ["g", "h", "g1", "h1"]


def test_one_address_with_two_ports_is_two_machines() -> None:
    text = "".join(f'[hosts.p{port}]\naddress = "127.0.0.1"\nport = {port}\n' for port in (2201, 2202))
    assert [host.port for host in load(text).hosts.values()] == [2201, 2202]


def test_of_a_connection_is_its_own_host_and_of_this_machine_the_defaults() -> None:
    fleet = load(FLEET)
    assert inventory.of(cast(Context, SimpleNamespace(host_entry=fleet.hosts["b"]))) == fleet.hosts["b"]
    assert inventory.of(cast(Context, SimpleNamespace())) == fleet.defaults


texts = [key for key, value in msgspec.structs.asdict(Pool()).items() if isinstance(value, str)]
pools = st.fixed_dictionaries(
    {},
    optional={
        key: st.sampled_from(["1G", "2G"])
        for key in texts
        if key not in ("variant", "when_full", "block_size", "chunk_size", "dir")
    }
    | {"dir": st.sampled_from(["/a", "/b"])}
    | {"variant": st.sampled_from(["loop", "direct"]), "devices": st.lists(st.just("/dev/sdb"), max_size=2)},
)
scalars = {
    key: st.sampled_from(["a", "b"]) for key in ("user", "identity_file", "release", "mirror", "registry", "image")
} | {"port": st.integers(1, 65535), "connect_timeout": st.integers(1, 99)}
layers = st.fixed_dictionaries({}, optional={**scalars, "pool": pools})


def table(name: str, keys: dict[str, Any]) -> str:
    """TOML of one section, with its pool."""
    lines = [f"[{name}]", *(f"{key} = {value!r}" for key, value in keys.items() if key != "pool")]
    if "pool" in keys:
        lines += [f"[{name}.pool]", *(f"{key} = {value!r}" for key, value in keys["pool"].items())]
    return "\n".join(lines) + "\n"


@given(defaults=layers, own=layers)
def test_merging_key_by_key(tmp_path_factory: pytest.TempPathFactory, defaults: Any, own: Any) -> None:
    file: Path = tmp_path_factory.mktemp("merge") / "hosts.toml"
    file.write_text(table("defaults", defaults) + table("hosts.h", own))
    host = inventory.load(file).hosts["h"]
    stock: dict[str, Any] = msgspec.to_builtins(Host(name="h", address="h"))
    pool = {**stock["pool"], **defaults.get("pool", {}), **own.get("pool", {})}
    assert host == msgspec.convert({**stock, **defaults, **own, "pool": pool}, Host)


def test_the_gateway_of_all_hosts_has_none_itself() -> None:
    paths.inventory().write_text('[defaults]\ngateway = "gw"\n[hosts.gw]\n[hosts.a]\n[hosts.b]\ngateway = ""\n')
    known = inventory.load()
    assert {name: host.gateway for name, host in known.hosts.items()} == {"gw": "", "a": "gw", "b": ""}
    assert [known.origins[name]["gateway"] for name in ("gw", "a", "b")] == ["default", "defaults", "hosts.b"]


def test_a_ring_through_the_gateway_of_all_hosts_says_how_to_end_it() -> None:
    paths.inventory().write_text('[defaults]\ngateway = "gw"\n[hosts.gw]\ngateway = "out.x"\n[hosts."out.x"]\n')
    with pytest.raises(Refused) as refused:
        inventory.load()
    hint = refused.value.hint
    assert hint.startswith('write gateway = "" in [hosts.') and ("[hosts.gw]" in hint or '[hosts."out.x"]' in hint)
