"""Words → hosts: names, groups of groups, globs, ranges, labels, addresses; each mistake by its word."""

from __future__ import annotations

import shlex

import pytest

from fabfile import inventory, paths, ranges, selection
from fabfile.errors import Refused
from fabfile.inventory import Inventory
from tests.unit import cost

FLEET = """
[defaults]
user = "admin"
[groups]
front = ["web*"]
back = ["db[1-2]", "front"]
all-but = ["@env=prod", "odd"]
[hosts."web[01-12]"]
labels = ["env=prod"]
connect_timeout = 5
pool = { size = "1G" }
[hosts.web07]
port = 2207
pool = { percent = 10 }
[hosts.db1]
labels = ["env=test", "big"]
[hosts.db2]
[hosts.odd]
address = "192.0.2.7"
"""

WEB = [f"web{number:02}" for number in range(1, 13)]


def load(text: str = FLEET) -> Inventory:
    """The inventory with this text."""
    paths.inventory().write_text(text)
    return inventory.load()


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("web[01-03]", WEB[:3]),
        ("web[02,11-12],db1", ["web02", "web11", "web12", "db1"]),
        ("web[01-07/3]", ["web01", "web04", "web07"]),
        ("db?", ["db1", "db2"]),
        ("*", [*WEB, "db1", "db2", "odd"]),
        ("odd,hosts", ["odd", *WEB, "db1", "db2"]),
        ("back", ["db1", "db2", *WEB]),
        ("@big", ["db1"]),
        ("@env=*", [*WEB, "db1"]),
        ("all-but", [*WEB, "odd"]),
        ("db1,db1,back", ["db1", "db2", *WEB]),
    ],
)
def test_words_and_their_hosts(asked: str, names: list[str]) -> None:
    assert [host.name for host in load().resolve(ranges.words(asked))] == names


def test_a_table_may_be_about_many_hosts_and_one_of_its_own_comes_before() -> None:
    known = load()
    web06, web07 = known.hosts["web06"], known.hosts["web07"]
    assert (web06.address, web06.port, web06.connect_timeout, web06.pool.size) == ("web06", 22, 5, "1G")
    assert (web07.port, web07.connect_timeout, web07.pool.size, web07.pool.percent) == (2207, 5, "1G", 10)
    assert list(known.hosts) == [*WEB, "db1", "db2", "odd"]


@pytest.mark.parametrize(
    ("typed", "user", "address", "port"),
    [
        ("root@192.0.2.9:2222", "root", "192.0.2.9", 2222),
        ("192.0.2.9:2222", "admin", "192.0.2.9", 2222),
        ("root@new.example", "root", "new.example", 22),
        ("[2001:db8::1]", "admin", "2001:db8::1", 22),
        ("root@[2001:db8::1]:2222", "root", "2001:db8::1", 2222),
        ("root@web07", "root", "web07", 2207),
        ("odd:2222", "admin", "192.0.2.7", 2222),
    ],
)
def test_an_address_with_a_user_or_a_port_needs_no_file(typed: str, user: str, address: str, port: int) -> None:
    (host,) = load().resolve([typed])
    assert (host.name, host.user, host.address, host.port) == (typed, user, address, port)


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ("web13", "no host or group 'web13'"),
        ("web[12-13]", "no host or group 'web13'"),
        ("new.example", "no host or group 'new.example'"),
        ("app*", "no host in .* has a name like 'app\\*'"),
        ("@none", "no host in .* has a label like '@none'"),
        ("web[3-1]", "not a range"),
        ("web[1-99999999]", "too many names"),
        ("web[1-9999][1-9999]", "too many names"),
        ("web[1-2] x", "has ' ' beside a range"),
        ("root@192.0.2.9:99999", "99999 is not a port"),
        ("root@a..b/c", "is not a host name"),
        ("a b@192.0.2.9", "is not a login name"),
        ("web[1-2", "no host or group"),
    ],
)
def test_what_names_nothing_is_refused(asked: str, what: str) -> None:
    with pytest.raises(Refused, match=what):
        load().resolve(ranges.words(asked))


@pytest.mark.parametrize(
    ("limit", "exclude", "names"),
    [
        ("web[01-02],odd", "", ["web01", "web02"]),
        ("", "web*", ["db1", "db2"]),
        ("@env=prod", "web[02-12]", ["web01"]),
        ("front", "", WEB),
    ],
)
def test_limit_and_exclude(limit: str, exclude: str, names: list[str]) -> None:
    known = load()
    chosen = selection.narrowed(known.chosen, known.resolve(["back"]), limit, exclude)
    assert sorted(host.name for host in chosen) == sorted(names)


@pytest.mark.parametrize(
    ("asked", "limit", "exclude", "names"),
    [
        ("web[01-02]", "", "root@web01", ["web02"]),
        ("root@web01,web02", "", "web01", ["web02"]),
        ("web01:2222,web02", "", "web01", ["web02"]),
        ("root@web01,web02", "", "admin@web01:2222", ["web02"]),
        ("root@192.0.2.7,web02", "", "odd", ["web02"]),
        ("root@192.0.2.9,web02", "", "192.0.2.9:22", ["web02"]),
        ("web[01-02]", "root@web01", "", ["web01"]),
        ("root@web01,web02", "@env=prod", "web02", ["root@web01"]),
        ("root@web01", "web01", "", ["root@web01"]),
        ("web01", "", "root@db1", ["web01"]),
    ],
)
def test_a_machine_is_limited_and_excluded_by_any_of_its_names(
    asked: str, limit: str, exclude: str, names: list[str]
) -> None:
    known = load()
    chosen = selection.narrowed(known.chosen, known.resolve(asked.split(",")), limit, exclude)
    assert [host.name for host in chosen] == names


@pytest.mark.parametrize("option", ["--limit", "--exclude"])
def test_an_address_of_no_host_that_was_selected_is_refused(option: str) -> None:
    known = load()
    words = {"limit": "", "exclude": "", option.removeprefix("--"): "root@10.9.9.9"}
    with pytest.raises(Refused) as refused:
        selection.narrowed(known.chosen, known.resolve(["hosts"]), **words)
    assert "'root@10.9.9.9'" in refused.value.what and "known: web01, " in refused.value.details


@pytest.mark.parametrize(
    "asked", ["web01,root@web01", "root@web01,web*", "odd,root@192.0.2.7", "a@192.0.2.9,192.0.2.9:22"]
)
def test_a_machine_with_two_names_is_selected_once(asked: str) -> None:
    names = [host.name for host in load().resolve(asked.split(","))]
    assert names[0] == asked.split(",")[0]
    assert asked.split(",")[1] not in names and len(names) == (12 if "*" in asked else 1)
    assert len(load().resolve(["odd", "odd:2222"])) == 2, "another port may be another machine"


@pytest.mark.parametrize(
    ("limit", "exclude", "what"),
    [("odd", "", "no host is left"), ("", "back", "no host is left"), ("wbe1", "", "'wbe1'"), ("", "x", "'x'")],
)
def test_nothing_left_and_words_that_are_nothing_are_refused(limit: str, exclude: str, what: str) -> None:
    known = load()
    with pytest.raises(Refused, match=what):
        selection.narrowed(known.chosen, known.resolve(["back"]), limit, exclude)


@pytest.mark.parametrize(
    ("typed", "right"),
    [("web[01-03, 05]", "'web[01-03,05]'"), ("web01 odd", "web01,odd"), ("web[01, 02] db1", "'web[01,02],db1'")],
)
def test_names_with_blanks_are_shown_with_commas(typed: str, right: str) -> None:
    known = load()
    with pytest.raises(Refused) as refused:
        known.resolve(ranges.words(typed))
    assert refused.value.hint == f"names are separated by commas: -H {right}"
    (words,) = shlex.split(right)
    assert known.resolve(ranges.words(words))


def test_a_group_may_have_all_hosts() -> None:
    known = load(FLEET.replace("[groups]", '[groups]\nevery = ["hosts"]'))
    assert known.resolve(["every"]) == known.resolve(["hosts"])


@pytest.mark.parametrize(
    ("groups", "what"),
    [
        ('a = ["b"]\nb = ["c", "a"]\nc = []', "groups.a: a cycle"),
        ('a = ["a"]', "groups.a: a cycle"),
        ('a = ["web[01-99]"]', "groups.a: no host 'web13'"),
        ('a = ["wbe1"]', "groups.a: no host 'wbe1'"),
        ("web01 = []", "the name is taken"),
        ("hosts = []", "the name is taken"),
        ("\n".join(f'g{n} = ["g{n + 1}"]' for n in range(60)) + "\ng60 = []", None),
    ],
)
def test_groups_that_cannot_be(groups: str, what: str | None) -> None:
    text = FLEET.replace("[groups]", f"[groups]\n{groups}")
    if what:
        with pytest.raises(Refused, match=what):
            load(text)
    else:
        with pytest.raises(Refused, match="more than 50 groups"):
            load(text).resolve(["g0"])


def test_a_machine_that_is_listed_keeps_its_own_settings() -> None:
    known = load(FLEET)
    listed = known.hosts["odd"]
    assert known.resolve([f"root@{listed.address}:{listed.port}", "odd"]) == [listed]


def test_groups_that_have_each_other_twice_cost_nothing() -> None:
    groups = "\n".join(f'g{n} = ["g{n + 1}", "g{n + 1}"]' for n in range(40)) + '\ng40 = ["db1"]'
    known = load(FLEET.replace("[groups]", f"[groups]\n{groups}"))
    with cost.at_most(1):
        assert [host.name for host in known.resolve(["g0"])] == ["db1"]


@pytest.mark.parametrize("label", ["", "a b", "-x", "@x", "x" * 64])
def test_a_label_that_cannot_be_typed_is_refused(label: str) -> None:
    with pytest.raises(Refused, match=r"hosts\.a\.labels"):
        load(f'[hosts.a]\nlabels = ["{label}"]\n')


def test_twenty_thousand_hosts_in_a_line_are_read_within_seconds() -> None:
    with cost.at_most(20):
        known = load('[groups]\nsome = ["n0*"]\n[hosts."n[00001-20000]"]\nport = 2200\n')
        assert len(known.resolve(["some"])) == 9999
