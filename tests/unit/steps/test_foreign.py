"""A foreign containerd is reported completely, with commands in an order that works."""

from __future__ import annotations

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.containerd import Containerd
from fabfile.facts.files import FileFact
from fabfile.facts.instances import DevmapperSettings, Instances
from fabfile.facts.versions import NAMES, Versions
from fabfile.instance import OURS, Daemon
from fabfile.steps import foreign
from tests.unit.pool import groups
from tests.unit.steps.conftest import having

DAEMON = Daemon()
DIR = "/var/lib/containerd/devmapper"
PROGRAMS = {f"/usr/local/bin/{name}": "" for name in ("containerd", "containerd-stress", "ctr")}


def upstream(**changes: object) -> Facts:
    """A machine with upstream's tarball, and the pool of its documentation."""
    versions = {name: Versions(links=PROGRAMS | {"/usr/local/sbin/runc": ""}) for name in NAMES}
    configs = {DAEMON.config_path: DevmapperSettings("", "devpool", DIR, "10GB")}
    there = having(
        versions=versions,
        containerd=Containerd(active=True),
        instances=Instances(configs, {}, frozenset({"devpool"}), {"devpool": f"{DIR}/data"}),
        files={DAEMON.unit_path: FileFact("[Service]\n", 0o644), DAEMON.config_path: FileFact("version = 2\n", 0o644)},
    )
    return msgspec.structs.replace(there, **changes)


def test_a_machine_without_a_foreign_containerd_has_no_finding() -> None:
    assert foreign.found(having(), DAEMON) is None
    ours = having(files={DAEMON.unit_path: FileFact(f"{OURS}; more\n", 0o644)})
    assert foreign.found(ours, DAEMON) is None


def test_everything_foreign_is_named_and_the_pool_comes_first() -> None:
    what = foreign.found(upstream(), DAEMON, "1.6.20")
    assert what
    programs, unit, pool = what.lines
    assert programs == f"programs: {', '.join([*PROGRAMS, '/usr/local/sbin/runc'])}"
    assert unit == "unit: /etc/systemd/system/containerd.service"
    assert pool.endswith(f"names the pool devpool, which is up, on {DIR}/data; its databases are in {DIR}")
    adopt, stop, aside, deploy = what.hint.splitlines()
    assert "inv pool.adopt --name devpool" in adopt
    assert stop == "systemctl stop containerd.service"
    assert aside.endswith(f"/usr/local/sbin/runc {DAEMON.unit_path} {foreign.ASIDE}")
    assert deploy == "inv deploy"


def test_a_pool_that_is_ours_by_now_is_not_adopted_again() -> None:
    now = upstream().instances
    what = foreign.found(upstream(instances=msgspec.structs.replace(now, settings={"devpool": groups.RECORD})), DAEMON)
    assert what and "adopt" not in what.hint and not any("devpool" in line for line in what.lines)


def test_a_configuration_in_another_format_moves_away_too() -> None:
    bare = upstream()
    for format, version, moves in ((1, "2.3.4", True), (4, "2.2.7", True), (4, "2.3.4", False), (0, "2.3.4", False)):
        text = f"version = {format}\n[plugins.cri]\nsandbox_image = 'x'\n"
        files = bare.files | ({DAEMON.config_path: FileFact(text, 0o644)} if format else {})
        what = foreign.found(msgspec.structs.replace(bare, files=files), DAEMON, version)
        assert what and (DAEMON.config_path in what.hint) is moves


def test_a_package_is_removed_by_its_name() -> None:
    have = having(containerd=Containerd(foreign="/usr/bin/containerd", package="containerd.io"))
    with pytest.raises(Refused, match=r"/usr/bin/containerd, of containerd.io: two containerds") as caught:
        foreign.refuse(have, DAEMON)
    assert caught.value.hint == "in this order:\napt-get remove containerd.io\ninv deploy"


def test_unrelated_files_are_ignored() -> None:
    links = {"/usr/local/bin/containerd-rootless.sh": "", "/usr/local/bin/containerd-stress": ""}
    assert foreign.found(having(versions={name: Versions(links=links) for name in NAMES}), DAEMON) is None
