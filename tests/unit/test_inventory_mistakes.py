"""Every mistake in hosts.toml is refused, in one error that names the file and the key."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabfile import inventory, paths
from fabfile.errors import Refused
from fabfile.inventory import Inventory
from tests.unit.damage import damaged

MISTAKES = {
    "syntax": ("[hosts.a\n", "is not TOML"),
    "syntax, no value": ("[hosts.a]\nport =\n", "is not TOML"),
    "a table twice": ("[hosts.a]\n[hosts.a]\n", "is not TOML"),
    "a key twice": ("[hosts.a]\nport = 1\nport = 2\n", "is not TOML"),
    "unknown section": ("[host.a]\n", "unknown section [host]"),
    "stray key": ("port = 22\n", "unknown section [port]"),
    "hosts is a list": ('hosts = ["a"]\n', "hosts: Expected a table, got list"),
    "host is text": ('[hosts]\na = "192.0.2.1"\n', "hosts.a: Expected a table, got str"),
    "unknown key of a host": ("[hosts.a]\nusr = 'x'\n", "hosts.a: Object contains unknown field `usr`"),
    "unknown key of defaults": ("[defaults]\nusr = 'x'\n[hosts.a]\n", "defaults: Object contains unknown field `usr`"),
    "unknown key of a pool": ("[hosts.a.pool]\nsiez = '1G'\n", "hosts.a.pool: Object contains unknown field `siez`"),
    "unknown key of the default pool": ("[defaults.pool]\nsiez = '1G'\n[hosts.a]\n", "defaults.pool: Object contains"),
    "port is text": ("[hosts.a]\nport = '22'\n", "hosts.a.port: Expected `int`, got `str`"),
    "port is a boolean": ("[hosts.a]\nport = true\n", "hosts.a.port: Expected `int`, got `bool`"),
    "port 0": ("[hosts.a]\nport = 0\n", "hosts.a.port: Expected `int` >= 1"),
    "port 65536": ("[hosts.a]\nport = 65536\n", "hosts.a.port: Expected `int` <= 65535"),
    "instance in capitals": ("[hosts.a]\ninstance = 'Two'\n", "hosts.a.instance: 'Two' is not an instance's name"),
    "instance that is taken": ("[hosts.a]\ninstance = 'config'\n", "hosts.a.instance: the name 'config' is taken"),
    "default port is text": ("[defaults]\nport = '22'\n[hosts.a]\n", "defaults.port: Expected `int`"),
    "user is a number": ("[hosts.a]\nuser = 1\n", "hosts.a.user: Expected `str`, got `int`"),
    "pool is text": ("[hosts.a]\npool = '1G'\n", "hosts.a.pool: Expected"),
    "default pool is text": ("[defaults]\npool = '1G'\n[hosts.a]\n", "defaults.pool: Expected"),
    "another variant": ("[hosts.a.pool]\nvariant = 'lvm'\n", "hosts.a.pool.variant: Invalid enum value 'lvm'"),
    "another way to be full": ("[hosts.a.pool]\nwhen_full = 'wait'\n", "hosts.a.pool.when_full: Invalid enum value"),
    "a device as text": ("[hosts.a.pool]\ndevices = '/dev/sdb'\n", "hosts.a.pool.devices: Expected `array`, got `str`"),
    "size is a number": ("[hosts.a.pool]\nsize = 100\n", "hosts.a.pool.size: Expected `str`, got `int`"),
    "build elsewhere": ("[hosts.a]\nbuild = 'cloud'\n", "hosts.a.build: Invalid enum value 'cloud'"),
    "default name": ("[defaults]\nname = 'x'\n", "defaults.name: every host has its own"),
    "default address": ("[defaults]\naddress = 'x'\n", "defaults.address: every host has its own"),
    "host name with a slash": ("[hosts.'a/b']\n", "hosts.a/b: not a usable host name"),
    "host name with a comma": ("[hosts.'a,b']\n", "hosts.a,b: not a usable host name"),
    "host name with a dash": ("[hosts.-a]\n", "hosts.-a: not a usable host name"),
    "a host that is all": ("[hosts.hosts]\n", "hosts.hosts"),
    "two hosts, one address": (
        "[hosts.a]\naddress = '192.0.2.1'\n[hosts.b]\naddress = '192.0.2.1'\n",
        "hosts.b and hosts.a have the same address",
    ),
    "an address that is another's name": ("[hosts.a]\n[hosts.b]\naddress = 'a'\n", "hosts.b and hosts.a have the same"),
    "group is text": ("[groups]\ng = 'a'\n[hosts.a]\n", "groups.g: Expected `array`, got `str`"),
    "group of numbers": ("[groups]\ng = [1]\n", "groups.g[0]: Expected `str`, got `int`"),
    "group of a stranger": ("[groups]\ng = ['a', 'b']\n[hosts.a]\n", "groups.g: no host 'b'"),
    "group named hosts": ("[groups]\nhosts = ['a']\n[hosts.a]\n", "groups.hosts: the name is taken"),
    "group named as a host": ("[groups]\na = ['a']\n[hosts.a]\n", "groups.a: the name is taken"),
    "unknown gateway": ("[hosts.a]\ngateway = 'g'\n", "hosts.a.gateway: no host 'g'"),
    "unknown gateway of all": ("[defaults]\ngateway = 'nope'\n[hosts.a]\n", "defaults.gateway: no host 'nope'"),
    "gateway of no hosts": ("[defaults]\ngateway = 'nope'\n", "defaults.gateway: no host 'nope'"),
    "own gateway": ("[hosts.a]\ngateway = 'a'\n", "hosts.a.gateway: the host itself"),
    "gateways in a ring": ("[hosts.a]\ngateway = 'b'\n[hosts.b]\ngateway = 'a'\n", "gateway"),
    "parallel 0": ("[defaults]\nparallel = 0\n", "defaults.parallel: 0 is not a number of threads"),
    "parallel is text": ("[defaults]\nparallel = 'x'\n", "defaults.parallel: Expected `int`, got `str`"),
    "address with a user": ("[hosts.a]\naddress = 'root@h'\n", "hosts.a.address: 'root@h' has a user in it"),
    "address with a port": ("[hosts.a]\naddress = 'h:22'\n", "hosts.a.address: 'h:22' has a port in it"),
    "address that is a URL": ("[hosts.a]\naddress = 'http://h'\n", "hosts.a.address: 'http://h' is a URL"),
    "address with a scheme for ssh": ("[hosts.a]\naddress = 'ssh://h'\n", "hosts.a.address: 'ssh://h' is a URL"),
    "empty address": ("[hosts.a]\naddress = ''\n", "hosts.a.address: '' is not a host name or an IP address"),
    "address with a blank": ("[hosts.a]\naddress = 'a b'\n", "hosts.a.address: 'a b' is not a host name"),
    "address that is an option": ("[hosts.a]\naddress = '-oProxy'\n", "hosts.a.address: '-oProxy' is not"),
    "address with an empty label": ("[hosts.a]\naddress = 'a..b'\n", "hosts.a.address: 'a..b' is not a host name"),
    "address with a long label": (f"[hosts.a]\naddress = '{'x' * 64}.b'\n", "hosts.a.address: 'xxx"),
    "address that begins with a dot": ("[hosts.a]\naddress = '.a'\n", "hosts.a.address: '.a' is not a host name"),
    "directory that is relative": (
        "[hosts.a.pool]\ndir = 'srv/pool'\n",
        "hosts.a.pool.dir: 'srv/pool' is not an absolute directory",
    ),
    "address with NUL": ('[hosts.a]\naddress = "a\\u0000b"\n', "hosts.a.address: 'a\\x00b' has the character"),
    "NUL in the file": ("[hosts.a]\x00\n", "is not TOML"),
    "user with NUL": ('[defaults]\nuser = "a\\u0000"\n', "defaults.user: 'a\\x00' has the character"),
    "empty user": ("[hosts.a]\nuser = 'a b'\n", "hosts.a.user: 'a b' is not a login name"),
    "a home that there is not": ("[hosts.a]\nknown_hosts = '~nobody-here/x'\n", "hosts.a.known_hosts: "),
    "long value": (f"[hosts.a]\nmirror = '{'x' * 5000}'\n", "hosts.a.mirror: a value of 5000 characters"),
    "long address": (f"[hosts.a]\naddress = '{'x' * 300}'\n", "hosts.a.address: 'xxx"),
    "long name": (f"[hosts.{'x' * 3000}]\n", "hosts.xxx"),
    "long choice": (f"[hosts.a.pool]\nvariant = '{'x' * 3000}'\n", "hosts.a.pool.variant: Invalid enum value"),
    "long section": (f"[{'x' * 3000}]\n", "unknown section [xxx"),
    "long stranger": (f"[groups]\ng = ['{'x' * 3000}']\n", "groups.g: no host 'xxx"),
    "arrays nested too deeply": (
        f"[hosts.a.pool]\ndevices = {'[' * 3000}{']' * 3000}\n",
        "is not TOML that can be read",
    ),
    "nested arrays": ("[hosts.a.pool]\ndevices = [['/dev/sdb']]\n", "hosts.a.pool.devices[0]: Expected `str`"),
    "deep arrays": (f"x = {'[' * 5000}\n", "is not TOML"),
    "an array of tables": ("[[hosts.a]]\n", "hosts.a: Expected a table, got list"),
    "a byte order mark": ("\ufeff[hosts.a]\n", "is not TOML"),
    "address without quotes": ("[hosts.192.0.2.1]\n", "hosts.192: Object contains unknown field"),
    "size without a unit": ("[hosts.a.pool]\nsize = '100'\n", "hosts.a.pool.size: '100' is not a size"),
    "decimal size": ("[defaults.pool]\nsize = '100GB'\n", "defaults.pool.size: '100GB' has a decimal unit"),
    "threshold 0": ("[hosts.a.pool]\nthreshold = 0\n", "hosts.a.pool.threshold: Expected `int` >= 1"),
    "percent 0": ("[defaults.pool]\npercent = 0\n", "defaults.pool.percent: Expected `int` >= 1"),
    "block size of a direct pool": (
        "[hosts.a.pool]\nvariant = 'direct'\nblock_size = '64K'\n",
        "hosts.a.pool.block_size: only a loop pool has that",
    ),
    "chunk size of a loop pool": (
        "[hosts.a.pool]\nchunk_size = '64K'\n",
        "hosts.a.pool.chunk_size: only a direct pool has that",
    ),
    "a section that is no table": ("[[defaults]]\nport = 1\n", "defaults: Expected a table, got list"),
}


def load(text: str) -> Inventory:
    """The inventory with this text."""
    paths.inventory().write_bytes(text.encode(errors="surrogatepass"))
    return inventory.load()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[hosts.a]\nadress = 'b'\n", "did you mean address?"),
        ("[defaults]\nconnect-timeout = 5\n", "did you mean connect_timeout?"),
        ("[hosts.'a[1-2]'.pool]\ntreshold = 5\n", "did you mean threshold?"),
        ("[hosts.a]\nxyzzy = 5\n", ""),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_one(text: str, hint: str) -> None:
    with pytest.raises(Refused, match="unknown field") as refused:
        load(text)
    assert refused.value.hint == hint


@pytest.mark.parametrize(("text", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake(text: str, says: str) -> None:
    with pytest.raises(Refused) as refused:
        load(text)
    assert says in refused.value.what
    assert len(refused.value.what) < 300 + len(str(paths.inventory())), "values are cut"
    assert str(paths.inventory()) in refused.value.what
    assert refused.value.code == 2


def test_a_syntax_error_says_where() -> None:
    with pytest.raises(Refused) as refused:
        load("[defaults]\nuser = 'a'\nport = \n")
    assert "line 3" in refused.value.details


@pytest.mark.parametrize("table", ["hosts.a.pool", "defaults.pool"])
def test_the_key_by_its_earlier_name_says_how_it_is_called_now(table: str) -> None:
    with pytest.raises(Refused, match=f"{table}: Object contains unknown field `pool`") as refused:
        load(f"[{table}]\npool = 'thinpool'\n")
    assert refused.value.hint == "this key is now called lv: write lv in its place"


def test_a_missing_file_says_how_to_name_another() -> None:
    with pytest.raises(Refused, match="cannot read the inventory") as refused:
        inventory.load()
    assert "HOSTS_FILE" in refused.value.hint


def test_a_directory_is_no_inventory() -> None:
    paths.inventory().mkdir()
    with pytest.raises(Refused, match="cannot read the inventory"):
        inventory.load()


def test_a_file_that_is_no_text() -> None:
    paths.inventory().write_bytes(b"\xff\xfe[hosts]")
    with pytest.raises(Refused, match="cannot read the inventory"):
        inventory.load()


def test_what_removes_a_byte_order_mark_is_said() -> None:
    with pytest.raises(Refused) as refused:
        load("\ufeff[hosts.a]\n")
    assert "byte order mark" in refused.value.details
    assert refused.value.hint.startswith("LC_ALL=C sed -i")


def test_a_name_with_dots_is_to_be_quoted() -> None:
    with pytest.raises(Refused) as refused:
        load("[hosts.192.0.2.1]\n")
    assert '[hosts."192.0.2.1"]' in refused.value.hint


WRITTEN = [
    (paths.REPOSITORY / "hosts.toml").read_text(),
    '[defaults]\nparallel = 3\n[defaults.pool]\nsize = "1G"\n[hosts.a]\n[groups]\ng = ["a"]\n',
    '[hosts.a]\naddress = "x"\n[hosts.b]\ngateway = "a"\n',
    '[hosts.a.pool]\ndevices = ["/dev/x", "/dev/y"]\n[hosts.c]\nport = 3\n',
]
PIECES = ["[hosts.a]", "[defaults]", "[groups]", "[[", "]]", "{", "}", "'", '"', '"""', "a", "port", "=", "1", "true"]
PIECES += ["\n", ",", "#", "\\", "\\u", "-", ".", " ", "\t", "é", "inf", "1e", "0x", "2020-01-01", "[", "]", "pool"]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=30) | damaged(WRITTEN))
def test_any_text_is_an_inventory_or_refused(text: str) -> None:
    try:
        inventory_of = load(text)
    except Refused as refused:
        assert str(paths.inventory()) in refused.what
    else:
        assert all(host.name == name for name, host in inventory_of.hosts.items())
