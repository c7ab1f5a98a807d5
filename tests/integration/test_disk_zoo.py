"""Every task that can write, on a machine full of foreign disks: only the disks it was asked to take change.

The machine has a deployed containerd, and the disks of `zoo`. The tests build on one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fabric import Config
from paramiko import SSHConfig

from fabfile import inventory, namespace
from fabfile.errors import Refused
from fabfile.facts import Facts, gather
from fabfile.host import Host, Pool
from fabfile.plan import Change
from fabfile.pool.limits import Growth
from fabfile.pool.loop import loop_pool
from fabfile.pool.lvm import direct_pool, extend
from fabfile.pool.safety import gate
from fabfile.shell import words
from fabfile.ssh.connections import Connections
from fabfile.ssh.machine import Machine as Connected
from tests.integration import zoo
from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.machine import Machine
from tests.integration.zoo import CASES, Case

BAD = [case for case in CASES if case.says]

SMALL = ("--data-percent", "50", "--meta-size", "4M", "--threshold", "100")
"""Options of pool.direct that suit a disk of 160M."""

OURS = "two-thinpool"
"""The name of the direct pool that these tests make: of the group `two`, on the disk `free`."""

NOT_TRIED = {
    "status", "doctor", "pool.status", "run", "inventory.show",  # they write nothing by themselves
    "toolchain.go", "toolchain.protoc", "containerd.build",  # only in directories of the system, and slowly
}  # fmt: skip
"""Tasks that have nothing to do with disks."""


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, suite: str, golden: Golden) -> Iterator[Machine]:
    """A deployed machine with the whole zoo."""
    with started(request, suite, base=golden.disk, disks=zoo.DISKS) as machine:
        zoo.prepare(machine)
        yield machine


@pytest.fixture(scope="module")
def kept(machine: Machine) -> dict[str, str]:
    """The expected contents of each disk, updated by the tests that take one."""
    return zoo.sums(machine)


@pytest.fixture(scope="module")
def connection(machine: Machine) -> Iterator[Connected]:
    """The same machine, as fab sees it."""
    hosts = inventory.load(machine.vm.directory.parent / "hosts.toml")
    with Connections(hosts, Config(ssh_config=SSHConfig())).to(hosts.hosts[machine.vm.name]) as connection:
        yield connection


def pool(*devices: str) -> Pool:
    """A direct pool on these disks."""
    place = "/var/lib/containerd-three/devmapper"
    return Pool(variant="direct", devices=devices, vg="wanted", dir=place, data_percent=50, threshold=100)


@pytest.fixture(scope="module")
def seen(machine: Machine, connection: Connected, kept: dict[str, str]) -> Facts:
    """One look at all of them."""
    devices = [zoo.device(machine, case.name) for case in CASES]
    return gather(connection, direct_pool.step(three(pool(*devices, *zoo.OTHERS))).query)


def three(pool: Pool) -> Host:
    """An instance with that pool."""
    return Host(instance="three", pool=pool)


def changed(machine: Machine, kept: dict[str, str]) -> set[str]:
    """The disks on which anything has changed, which are written down as they are now."""
    now = zoo.sums(machine)
    differ = {name for name, digest in now.items() if digest != kept[name]}
    kept |= now
    return differ


def refusal(seen: Facts, device: str, wipes: tuple[str, ...] = ()) -> Refused:
    with pytest.raises(Refused) as refused:
        direct_pool.step(three(pool(device)), wipes).plan(seen)
    return refused.value


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_disk_is_refused_with_all_that_is_on_it(machine: Machine, seen: Facts, case: Case) -> None:
    device = zoo.device(machine, case.name)
    refused = refusal(seen, device)
    for says in case.says:
        assert says.format(disk=device) in refused.details
    assert ("--wipe" in refused.hint) == case.wipe
    if not case.wipe:
        assert refusal(seen, device, (device,)).details == refused.details


@pytest.mark.parametrize("path", zoo.OTHERS)
def test_what_is_not_a_whole_disk_is_always_refused(seen: Facts, path: str) -> None:
    for wipes in ((), (path,)):
        assert zoo.OTHERS[path] in refusal(seen, path, wipes).details


def destroying(changes: list[Change]) -> str:
    """The shell of a plan that takes disks."""
    return "\n".join(getattr(change, "script", "") for change in changes)


def test_a_plan_uses_the_named_disk_and_no_other(machine: Machine, seen: Facts) -> None:
    devices = {case.name: zoo.device(machine, case.name) for case in CASES}
    for case in CASES:
        if case.wipe or not case.says:
            wipes = (devices[case.name],) if case.wipe else ()
            script = destroying(direct_pool.step(three(pool(devices[case.name])), wipes).plan(seen))
            lines = [line for line in script.splitlines() if line.startswith(("wipe_disk", "pvcreate", "vgcreate"))]
            assert len(lines) == len(wipes) + 2
            assert all(devices[case.name] in line.split() for line in lines)
            others = {name for name, device in devices.items() if name != case.name and device in script.split()}
            assert not others


def offers(machine: Machine) -> dict[str, dict[str, Any]]:
    """What pool.disks reports about each device."""
    found = machine.fab_json("pool.disks")["result"]
    return {offer["device"]: offer for offer in found if offer["kind"] != "group"}


def test_pool_disks_reports_the_same(machine: Machine, seen: Facts, kept: dict[str, str]) -> None:
    found = offers(machine)
    for case in CASES:
        offer = found[zoo.device(machine, case.name)]
        assert offer["wipe"] == case.wipe
        assert offer["against"] == (refusal(seen, offer["device"]).details.splitlines() if case.says else [])
    assert changed(machine, kept) == set()


def test_the_gate_touches_no_disk_that_is_not_as_it_was_when_the_plan_was_made(
    machine: Machine, seen: Facts, kept: dict[str, str]
) -> None:
    """A plan that was made when there was nothing on them yet."""
    disks = {disk.asked: disk for disk in seen.disks}
    scripts = []
    for case in BAD:
        disk = disks[zoo.device(machine, case.name)]
        scripts.append(words("wipe_disk", disk.asked, disk.bare, disk.real, disk.size))
        scripts.append(words("blank_pv", disk.asked, disk.bare, disk.real, disk.size, "another"))
    for volume in zoo.VOLUMES:
        scripts += [words(deed, f"user/{volume}", "another") for deed in ("remove_lv", "make_ext4")]
        scripts.append(words("wipe_fs", f"/dev/user/{volume}", "another"))
    for group in ("user", "away", "far", "twin"):
        scripts += [words(deed, group, "another") for deed in ("remove_vg", "forget_missing")]
    for name in ("secret", "mpatha", "user-raw"):
        scripts += [words(deed, name, "1:1") for deed in ("remove_dm", "let_go")]
    scripts.append(words("detach_loop", "/dev/loop7", "1:1:1"))
    script = "\n".join(f"( {line} ) >/dev/null; echo said $?" for line in scripts)
    said = machine.ssh(f"set -u\n{gate.functions()}\nsurvey\n{script}")
    assert said.split() == ["said", "1"] * len(scripts)
    assert changed(machine, kept) == set()


def test_a_pool_of_ours_uses_only_its_disk(machine: Machine, kept: dict[str, str]) -> None:
    free = zoo.device(machine, "free")
    machine.fab("pool.direct", *SMALL, "--instance", "two", "--vg", "two", "--device", free)
    assert changed(machine, kept) == {"free"}


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_pool_does_not_grow_onto_another_disk(machine: Machine, growing: Facts, case: Case) -> None:
    device = zoo.device(machine, case.name)
    two = Host(instance="two", pool=Pool(variant="direct", vg="two", lv="thinpool"))
    for wipes in ((), *([] if case.wipe else [(device,)])):
        step = extend.step(two, Growth(devices=(device,), wipes=wipes))
        with pytest.raises(Refused) as refused:
            step.plan(growing)
        for says in case.says:
            assert says.format(disk=device) in refused.value.details


@pytest.fixture(scope="module")
def growing(machine: Machine, connection: Connected) -> Facts:
    """A look at all of them, for a growth of our pool."""
    devices = tuple(zoo.device(machine, case.name) for case in BAD)
    two = Host(instance="two", pool=Pool(variant="direct", vg="two", lv="thinpool"))
    return gather(connection, extend.step(two, Growth(devices=devices)).query)


@pytest.mark.parametrize("name", zoo.VOLUMES)
def test_an_existing_volume_is_refused_with_its_content(connection: Connected, name: str) -> None:
    settings = Pool(dir="/srv/pool", size="64M", volume=f"user/{name}", volume_size="128M", name="files")
    step = loop_pool.step(three(settings))
    with pytest.raises(Refused) as refused:
        step.plan(gather(connection, step.query))
    assert zoo.VOLUMES[name][1] in refused.value.details


def devices(machine: Machine, *cases: Case, flags: tuple[str, ...] = ("--device",)) -> list[str]:
    return [word for case in cases for flag in flags for word in (flag, zoo.device(machine, case.name))]


*WIPED, SPARED = (case for case in BAD if case.name in ("tail", "gpt", "LUKS", "zfs"))

TRIES: tuple[tuple[str, Any, int], ...] = (
    ("pool.direct --instance three --vg three {bad}", (), 2),
    ("pool.direct --instance three --vg three {bad and wiped}", (), 2),
    ("pool.direct --instance three --vg twin", (), 2),
    ("pool.direct --instance three --vg away", (), 2),
    ("pool.direct --instance three --vg far", (), 2),
    ("pool.loop --instance three --name three --dir /srv/mounted --size 64M", (), 2),
    ("pool.loop --instance three --name three --dir /dev/user --size 64M", (), 2),
    ("pool.loop --instance three --name three --size 64M --volume twin/x --volume-size 128M", (), 2),
    ("pool.loop --instance three --name three --size 64M --volume away/lv --volume-size 128M", (), 2),
    ("pool.grow {bad}", (), 2),
    ("pool.grow --instance two --name two-thinpool {bad and wiped}", (), 2),
    ("deploy --instance three --variant direct {bad}", (), 2),
    ("deploy", (), 0),
    ("packages", (), 0),
    ("containerd.install", (), 0),
    ("containerd.configure", (), 0),
    ("runc.install", (), 0),
    ("smoke", (), 0),
    ("pool.backup", (), 0),
    ("pool.check", (), 0),
    ("pool.fsck --fix --yes", (), 0),
    ("pool.trim", (), 0),
    ("pool.restore --yes --force", (), 0),
    ("pool.repair --yes --force", (), 0),
    ("pool.kept --keep 0", (), 0),
    ("pool.backup --instance two --name two-thinpool", ("free",), 0),
    ("pool.check --instance two --name two-thinpool", ("free",), 0),
    ("pool.fsck --fix --yes --instance two --name two-thinpool", ("free",), 0),
    ("pool.trim --offline --instance two --name two-thinpool", ("free",), 0),
    ("pool.repair --yes --force --instance two --name two-thinpool", ("free",), 0),
    ("pool.restore --yes --force --instance two --name two-thinpool", ("free",), 0),
    ("pool.rescue --instance two --name two-thinpool", (), 0),
    ("pool.rescue", (), 0),
    ("pool.adopt --name user-raw", (), 2),
    ("pool.adopt --instance three --name mpatha", (), 2),
    ("pool.reset --yes --force --name user-raw", (), 0),
    ("pool.reset --yes --force --name mpatha", (), 0),
    ("pool.disks", (), 0),
)
"""Command line → the disks on which anything may change → exit code."""


def test_every_task_is_tried() -> None:
    assert {*namespace().task_names} == {typed.split()[0] for typed, _, _ in TRIES} | NOT_TRIED


@pytest.mark.parametrize(("typed", "takes", "code"), TRIES, ids=[typed for typed, _, _ in TRIES])
def test_a_task_changes_nothing_of_others(
    machine: Machine, kept: dict[str, str], typed: str, takes: tuple[str, ...], code: int
) -> None:
    bad = " ".join(devices(machine, *BAD))
    wiped = " ".join(devices(machine, *BAD, flags=("--device", "--wipe")))
    said = machine.fab(*typed.replace("{bad}", bad).replace("{bad and wiped}", wiped).split(), code=code)
    assert "Traceback" not in said
    assert changed(machine, kept) <= {*takes}


def test_wipe_destroys_the_named_disks_and_no_others(machine: Machine, kept: dict[str, str]) -> None:
    args = ("pool.direct", "--instance", "three", "--vg", "three")
    asked = devices(machine, *WIPED, flags=("--device", "--wipe"))
    said = machine.fab(*args, *asked, *devices(machine, SPARED), code=2)
    assert f"{zoo.device(machine, SPARED.name)} cannot be used" in said
    assert "4.0M is too small for 8.0T" in machine.fab(*args, *SMALL, *asked, code=2)
    assert changed(machine, kept) == set()
    machine.fab(*args, *asked)
    assert changed(machine, kept) == {case.name for case in WIPED}


def test_reset_removes_what_is_ours_and_nothing_else(machine: Machine, kept: dict[str, str]) -> None:
    machine.fab("pool.reset", "--all", "--yes", "--force")
    ours = [*WIPED, CASES[-1]]
    assert changed(machine, kept) == {case.name for case in ours}
    found = offers(machine)
    for case in CASES:
        assert bool(found[zoo.device(machine, case.name)]["against"]) == (case not in ours)
    assert machine.ssh("for at in /srv/loop /srv/mounted /srv/volume; do mountpoint -q $at || echo $at; done") == ""
