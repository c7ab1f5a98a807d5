"""inventory.import and inventory.export as a whole; what is exported and imported again is the same inventory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile import inventory, paths, selection
from fabfile.errors import Refused
from fabfile.exchange import ansible_export, ansible_yaml, importing, ssh_config
from fabfile.exchange.translation import translated
from fabfile.host import Host
from fabfile.inventory import Inventory
from tests.unit import cost
from tests.unit.pool.machines import done

SETTINGS = ("name", "address", "port", "user", "identity_file", "known_hosts", "connect_timeout", "gateway")

PATHS = st.from_regex(r"~?/[a-zA-Zé %=#'.-]{0,12}[a-z]", fullmatch=True)
USERS = st.from_regex(r"[a-zA-Z0-9_.éü]{1,8}", fullmatch=True)


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    """Any inventory, as far as other tools are concerned."""
    names = draw(
        st.lists(
            st.from_regex(r"(web|db-[0-9]|[a-z]{1,3})[0-9]{0,2}(\.example)?", fullmatch=True), unique=True, min_size=1
        )
    )
    names = [name for name in names if name not in ("all", "hosts", "g1")] or ["web1"]  # "g1" is a group below
    keys: dict[str, st.SearchStrategy[Any]] = {
        "port": st.integers(1, 65535), "user": USERS, "identity_file": PATHS, "known_hosts": PATHS,
        "connect_timeout": st.integers(1, 3600),
    }  # fmt: skip
    common = {key: draw(values) for key, values in keys.items() if draw(st.booleans())}
    hosts: dict[str, Host] = {}
    for number, name in enumerate(names):
        own = {key: draw(values) for key, values in keys.items() if draw(st.booleans())}
        if draw(st.booleans()):
            own["address"] = draw(
                st.sampled_from(
                    [f"192.0.2.{number}", f"2001:db8::{number}", f"fe80::{number}%eth0", f"address{number}.example"]
                )
            )
        if draw(st.booleans()) and hosts:
            own["gateway"] = draw(st.sampled_from(sorted(hosts)))
        hosts[name] = Host(**{"address": name, **common, **own, "name": name})
    groups: dict[str, list[str]] = {}
    for group in ("g1", "group-two", "G.3"):
        groups[group] = draw(st.lists(st.sampled_from([*names, *groups]), unique=True, max_size=5))
    return Inventory(Path("f"), Host(**common), 1, hosts, groups)


def members(known: Inventory) -> dict[str, set[str]]:
    return {name: {host.name for host in selection.choose(known.chosen, of)} for name, of in known.groups.items()}


def connections(known: Inventory) -> dict[str, dict[str, Any]]:
    return {name: {key: getattr(host, key) for key in SETTINGS} for name, host in known.hosts.items()}


@settings(max_examples=200)
@given(inventories())
def test_what_is_exported_and_imported_again_is_the_same(known: Inventory) -> None:
    tables = translated(ansible_yaml.read(ansible_export.text(known), "f"))
    text = "".join(importing._text(tables, "f"))
    again = inventory.parsed(text, Path("f"))
    assert connections(again) == connections(known), text
    assert members(again) == members(known), text
    assert tables.left == []


def write(text: str) -> Path:
    paths.inventory().write_text(text)
    return paths.inventory()


FLEET = """[defaults]
user = "admin"
[groups]
web = ["web[1-2]", "@db"]
all-of-them = ["web", "gw"]
[hosts.gw]
address = "192.0.2.1"
port = 2222
[hosts."web[1-2]"]
gateway = "gw"
[hosts.db]
labels = ["db"]
user = "root"
identity_file = "~/a key"
"""


def test_an_inventory_for_ansible() -> None:
    text = ansible_export.text(inventory.load(write(FLEET)))
    jump = {"ansible_ssh_common_args": "-o ProxyJump=admin@192.0.2.1:2222"}
    assert yaml.safe_load(text)["all"] == {
        "vars": {"ansible_user": "admin"},
        "hosts": {
            "gw": {"ansible_host": "192.0.2.1", "ansible_port": 2222},
            "web1": jump,
            "web2": jump,
            "db": {"ansible_user": "root", "ansible_ssh_private_key_file": "~/a key"},
        },
        "children": {
            "web": {"hosts": {"web1": {}, "web2": {}, "db": {}}, "children": {}},
            "all-of-them": {"hosts": {"gw": {}}, "children": {"web": {}}},
        },
    }


def test_what_ansible_cannot_say_of_jump_hosts_is_noted() -> None:
    assert ansible_export.notes(inventory.load(write(FLEET))) == []
    known = inventory.load(write(FLEET.replace("port = 2222", "port = 2222\nidentity_file = '/k'")))
    assert [note.partition(":")[0] for note in ansible_export.notes(known)] == ["hosts.gw (192.0.2.1)"]


@pytest.mark.parametrize("name", ["all", "ungrouped"])
def test_a_group_that_ansible_makes_itself_is_refused(name: str) -> None:
    known = inventory.load(write(f'[groups]\n{name} = ["a"]\n[hosts.a]\n[hosts.b]\n'))
    with pytest.raises(Refused, match=f"{name} cannot be exported"):
        ansible_export.text(known)


def test_a_configuration_of_ssh() -> None:
    text = ssh_config.text(inventory.load(write(FLEET)))
    assert (
        """
Host web1
    HostName web1
    Port 22
    User admin
    UserKnownHostsFile ~/.ssh/known_hosts
    StrictHostKeyChecking yes
    ConnectTimeout 20
    ProxyJump gw
"""
        in text
    )
    assert '    IdentityFile "~/a key"\n' in text
    with pytest.raises(Refused, match=r"hosts\.a\.user: .* cannot be exported"):
        ssh_config.text(inventory.load(write("[hosts.a]\nuser = 'a\"b'\n")))


@pytest.mark.parametrize("format", ["ansible", "ssh-config"])
def test_export_prints(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert done("inventory.export", here(), format=format).error is not None, "there are no hosts"
    write(FLEET)
    report = done("inventory.export", here(), format=format)
    assert report.status == "ok" and report.result.text.strip() == capsys.readouterr().out.strip()


def here(*, dry: bool = False) -> Any:
    from invoke import Config, Context

    return Context(Config(overrides={"run": {"dry": dry}}))


def run(tmp_path: Path, text: str = "[a]\nb ansible_user=me x=y\n", name: str = "inventory", **given: Any) -> Any:
    file = tmp_path / name
    file.write_text(text)
    return done("inventory.import", here(dry=given.pop("dry", False)), file=str(file), **given)


def test_import_prints_a_file_that_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(tmp_path)
    said = capsys.readouterr()
    known = inventory.parsed(said.out, Path("f"))
    assert connections(known)["b"]["user"] == "me" and members(known) == {"a": {"b"}}
    assert said.err == f"note: {tmp_path}/inventory, line 2: x: a variable of playbooks\n"
    assert report.status == "ok" and report.result.text.strip() == said.out.strip()


def test_an_inventory_without_hosts_replaces_no_file(tmp_path: Path) -> None:
    output = tmp_path / "hosts.toml"
    output.write_text("[hosts.a]\n")
    report = run(tmp_path, "[web]\n", output=str(output), yes=True)
    assert report.status == "refused" and "has no hosts to import" in report.error.what
    assert output.read_text() == "[hosts.a]\n"


def test_a_file_is_replaced_only_when_told(tmp_path: Path) -> None:
    output = tmp_path / "new.toml"
    assert run(tmp_path, output=str(output), dry=True).status == "pending"
    assert not output.exists()
    assert run(tmp_path, output=str(output)).status == "changed"
    assert run(tmp_path, output="-").error.what == "--output: - is not a file"
    before = output.read_text()
    again = run(tmp_path, "c", output=str(output))
    assert again.status == "refused" and again.error.hint.endswith(f"--output {output} --yes")
    assert output.read_text() == before
    assert run(tmp_path, "c", output=str(output), yes=True).status == "changed"
    assert "[hosts.c]" in output.read_text()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["home", "inventory", "new.toml"]


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a", "#!/bin/sh\n", "is a script"),
        ("a.yml", "$ANSIBLE_VAULT;1.1;AES256\n61\n", "is encrypted"),
        ("a.aws_ec2.yml", "plugin: amazon.aws.aws_ec2\n", "is the configuration of a plugin"),
        ("a.toml", "[all]\n", "is TOML"),
        ("a", "x" * (importing.MOST + 1), "is too large"),
        ("a", "[a]\nhosts ansible_host=-\n", "is not a host name"),
    ],
)
def test_what_only_ansible_can_read_is_refused(tmp_path: Path, name: str, text: str, what: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    file.chmod(0o755)
    report = done("inventory.import", here(), file=str(file))
    assert report.status == "refused" and report.error and what in report.error.what


@pytest.mark.parametrize(("name", "what"), [("", "is a directory"), ("none", "cannot read")])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, what: str) -> None:
    report = done("inventory.import", here(), file=str(tmp_path / name))
    assert report.status == "refused" and report.error and what in report.error.what


@pytest.mark.parametrize(
    ("name", "text", "is_yaml"),
    [
        ("a", "all:\n", True),
        ("a", "# x\n---\nall:\n", True),
        ("a", "'my group':  # x\n", True),
        ("a", '{"all": {}}', True),
        ("a", "[all]\n", False),
        ("a", "host\n", False),
        ("a", "host:22\n", False),
        ("a.json", "[x]", True),
        ("a.ini", "all:\n", False),
        ("a.yaml", "[x]\n", True),
    ],
)
def test_which_inventories_are_yaml(name: str, text: str, is_yaml: bool) -> None:
    assert importing._is_yaml(Path(name), text) == is_yaml


def test_variables_beside_the_inventory_are_listed(tmp_path: Path) -> None:
    for name in ("group_vars/all.yml", "host_vars/b"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    report = run(tmp_path)
    assert [left.name for left in report.result.left] == ["x", "group_vars/all.yml", "host_vars/b"]


def test_the_cost_grows_with_the_hosts_and_no_faster(tmp_path: Path) -> None:
    def seconds(hosts: int) -> float:
        lines = [f"h{number} ansible_host=192.0.{number // 250}.{number % 250}" for number in range(hosts)]
        with cost.measured() as importing_all:
            done = run(tmp_path, "\n".join(["[a]", *lines, "[all:vars]", "ansible_ssh_common_args=-J gw"]))
        assert done.status == "ok"
        return importing_all.seconds

    seconds(10)
    assert seconds(8000) < 8 * seconds(2000) + 1
