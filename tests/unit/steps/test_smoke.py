"""The smoke test runs once for a setup, again if anything in that changed, and only with valid values."""

from __future__ import annotations

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.containerd import Containerd
from fabfile.facts.smoke import Smoke
from fabfile.host import Host, Pool
from fabfile.plan import Command
from fabfile.steps import smoke
from tests.unit.steps.conftest import FRESH, with_system, with_versions

HOST = Host(registry="http://registry.example:5000", image="library/hello-world:latest")


def proved(have: Facts = FRESH, state: str = "1,2 sha256:a", now: str = "1,2 sha256:a") -> Facts:
    """`have`, with a record of a smoke test made on FRESH."""
    return msgspec.structs.replace(have, smoke=Smoke(smoke.setup(FRESH, HOST), state, now))


def test_the_smoke_test_is_planned_once_for_a_setup() -> None:
    (run,) = smoke.step(HOST).plan(FRESH)
    assert isinstance(run, Command)
    assert run.script.index("registry.example:5000/library/hello-world:latest") < run.script.index("\nrecord")
    assert smoke.step(HOST).plan(proved()) == []


def test_a_containers_output_goes_to_a_file_with_an_unpredictable_name() -> None:
    script = smoke.script(HOST)
    assert script.count('run --log-uri "file://$dir/said"') == len(smoke.SNAPSHOTTERS)
    assert "mktemp -d -p /run " in script
    assert "/tmp" not in script


def test_the_record_is_synced_before_it_replaces_the_old_one() -> None:
    record = HOST.daemon.smoke_record_path
    steps = [
        f">{record}.new",
        f"sync {record}.new",
        f"mv -fT {record}.new {record}",
        "sync /var/lib/containerd-devmapper ",
    ]
    places = [smoke.recording(HOST).index(step) for step in steps]
    assert places == sorted(places)


def test_the_record_says_what_the_plan_compares() -> None:
    recording = smoke.recording(HOST)
    assert smoke.SETUP.replace("{}", "%s") in recording
    for value in (HOST.pool.dm_name, f"{HOST.registry}/{HOST.image}"):
        assert value in recording and value in smoke.setup(FRESH, HOST)
    # What was unknown when it was planned is not in it: --dry shows no version None.
    assert "None" not in recording


@pytest.mark.parametrize(("state", "now"), [("1,2 sha256:a", ""), ("1,2 sha256:a", "1,3 sha256:a"), ("", "")])
def test_what_was_wiped_or_created_again_is_tested_again(state: str, now: str) -> None:
    assert smoke.step(HOST).plan(proved(state=state, now=now))


def test_a_host_that_cannot_make_a_snapshot_is_not_converged() -> None:
    def finished(said: str | None, **daemon: str) -> Facts:
        have = msgspec.structs.replace(proved(), proof=said)
        return msgspec.structs.replace(have, containerd=msgspec.structs.replace(have.containerd, **daemon))

    assert smoke.step(HOST).plan(finished("")) == smoke.step(HOST).plan(finished(None)) == []
    with pytest.raises(Refused, match=r"object already exists(.|\n)*hint: inv pool\.fsck"):
        smoke.step(HOST).plan(finished("object already exists"))
    with pytest.raises(Refused, match="hint: inv smoke, and for another image"):
        smoke.step(HOST).plan(finished("the file system of sha256:1 cannot be mounted: bad superblock"))
    two = msgspec.structs.replace(HOST, instance="two")
    assert "ctr --address /run/containerd-two/containerd.sock images rm" in smoke.unproved("it cannot be mounted", two)
    with pytest.raises(Refused, match="hint: inv deploy"):
        smoke.step(HOST).plan(finished("its device /dev/mapper/x is not on the pool y"))


def test_it_proves_the_pool_by_the_containers_own_device() -> None:
    script = smoke.script(HOST)
    assert script.index("snapshots --snapshotter devmapper mounts") < script.index("\non_pool\n")
    assert "pool=containerd-pool" in script
    assert script.count("\non_pool\n") == 1


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(HOST, image="library/busybox:latest"),
        msgspec.structs.replace(HOST, registry="https://docker.io"),
        msgspec.structs.replace(HOST, pool=Pool(name="other")),
    ],
)
def test_another_setup_is_tested_again(other: Host) -> None:
    assert smoke.step(other).plan(proved())


@pytest.mark.parametrize(
    "have",
    [
        with_versions("runc", current="1.3.0-k"),
        with_versions("containerd", current="2.3.4-k"),
        with_system(kernel="6.12"),
        msgspec.structs.replace(FRESH, containerd=Containerd(settings="of another configuration")),
        msgspec.structs.replace(FRESH, containerd=Containerd(loaded="another drop-in")),
    ],
)
def test_another_version_kernel_or_configuration_is_tested_again(have: Facts) -> None:
    assert smoke.step(HOST).plan(proved(have))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"registry": "ftp://x"}, "is not an address"),
        ({"registry": "http://x; reboot"}, "is not an address"),
        ({"registry": ""}, "is not an address"),
        ({"image": "a b"}, "is not an image"),
        ({"image": "$(reboot)"}, "is not an image"),
        ({"image": "Library/X"}, "is not an image"),
        ({"image": "a@sha256:12"}, "is not an image"),
    ],
)
def test_an_invalid_registry_or_image_is_refused(change: dict[str, str], what: str) -> None:
    with pytest.raises(Refused, match=what):
        smoke.script(msgspec.structs.replace(HOST, **change))
