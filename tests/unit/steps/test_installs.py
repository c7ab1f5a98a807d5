"""Go, protoc, runc and containerd: what each brings, links and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fabfile import paths
from fabfile.artefacts import cache_files
from fabfile.artefacts.build import Build
from fabfile.artefacts.source import Git
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.containerd import Containerd
from fabfile.facts.files import FileFact
from fabfile.facts.instances import Instances
from fabfile.facts.versions import Versions
from fabfile.host import Host
from fabfile.plan import Change, Upload
from fabfile.steps import containerd, runc, toolchain
from tests.unit.steps.conftest import FRESH, having, with_system


def host(mirror: str, **settings: Any) -> Host:
    return Host(release="lab", mirror=mirror, **settings)


def reasons(changes: list[Change]) -> list[str]:
    return [change.why for change in changes]


def upload(changes: list[Change]) -> Upload:
    (found,) = (change for change in changes if isinstance(change, Upload))
    return found


def test_go_goes_to_usr_local_and_into_the_path_of_logins(mirror: str) -> None:
    changes = toolchain.go_step(host(mirror)).plan(having())
    assert reasons(changes)[2:] == ["/usr/local/go → /opt/go/current", "Go in the PATH of every login"]
    assert "go1.19.8" in upload(changes).script


def with_go_by_hand(version: str) -> Facts:
    return having(
        versions=FRESH.versions | {"go": Versions(links={"/usr/local/go": ""})},
        files={
            "/usr/local/go/VERSION": FileFact(f"{version}\ntime 2023-04-01\n", 0o644),
            toolchain.PROFILE: FileFact(toolchain.PROFILE_TEXT, 0o644),
        },
    )


def test_a_go_that_was_put_there_by_hand_serves_only_in_the_wanted_version(mirror: str) -> None:
    step = toolchain.go_step(host(mirror))
    assert "/usr/local/go/VERSION" in step.query.files
    assert step.plan(with_go_by_hand("go1.19.8")) == []
    with pytest.raises(Refused, match="/usr/local/go: in the way"):
        step.plan(with_go_by_hand("go1.19.80"))


def test_protoc_has_to_compile_before_it_is_put_in_place(mirror: str) -> None:
    changes = toolchain.protoc_step(host(mirror)).plan(having())
    script = upload(changes).script
    assert script.index("--descriptor_set_out") < script.index("mv -T")
    assert reasons(changes)[2:] == [
        "/usr/local/bin/protoc → /opt/protoc/current/bin/protoc",
        "/usr/local/include/google → /opt/protoc/current/include/google",
    ]


def test_runc_has_to_say_its_version(mirror: str) -> None:
    changes = runc.step(host(mirror)).plan(having())
    assert "runc version 1.1.5" in upload(changes).script
    assert reasons(changes)[-1] == "/usr/local/sbin/runc → /opt/runc/current/bin/runc"


@pytest.mark.parametrize("step", [toolchain.go_step, runc.step])
def test_an_architecture_without_an_artefact_is_refused(mirror: str, step: object) -> None:
    assert callable(step)
    with pytest.raises(Refused, match="for riscv64"):
        step(host(mirror)).plan(with_system(arch="riscv64"))


@pytest.fixture
def cached(mirror: str) -> Build:
    """The build of the release, already in the cache."""
    build = containerd.built(host(mirror), "amd64")
    build.archive.parent.mkdir(parents=True)
    build.archive.touch()
    cache_files.record(build.archive)
    return build


def test_containerd_is_built_here_and_all_its_programs_are_linked(mirror: str, cached: Build) -> None:
    changes = containerd.step(host(mirror, bin_dir="/srv/bin")).plan(having())
    assert upload(changes).source == cached
    assert "a" * 40 in upload(changes).script
    links = [f"/srv/bin/{name} → /opt/containerd/current/bin/{name}" for name in cached.programs]
    assert reasons(changes)[2:] == links


def test_a_finished_machine_needs_no_build(mirror: str) -> None:
    build = containerd.built(host(mirror), "amd64")
    links = {f"/usr/local/bin/{name}": f"/opt/containerd/current/bin/{name}" for name in build.programs}
    now = Versions(current=build.key, installed=frozenset({build.key}), links=links)
    assert containerd.step(host(mirror)).plan(having(versions={"containerd": now})) == []
    assert not (paths.cache() / "builds").exists()


def test_on_the_host_the_source_goes_there_with_the_same_script_and_key(mirror: str) -> None:
    build = containerd.built(host(mirror), "amd64")
    changes = containerd.step(host(mirror, build="host")).plan(having())
    assert isinstance(upload(changes).source, Git)
    assert "make -j" in upload(changes).script and "/usr/local/go" in upload(changes).script
    assert f"/opt/containerd/{build.key}" in upload(changes).script
    (only,) = containerd.place_step(host(mirror)).plan(having())
    assert only == upload(changes)


def test_what_the_controller_cannot_build_is_refused_in_the_plan(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(Refused, match="this controller"):
        containerd.step(host(mirror)).plan(having())
    assert containerd.step(host(mirror, build="host")).plan(having())


def test_a_containerd_from_a_package_is_refused_with_its_path(mirror: str, cached: Build) -> None:
    have = having(containerd=Containerd(foreign="/usr/bin/containerd", package="containerd.io"))
    with pytest.raises(Refused, match=r"/usr/bin/containerd, of containerd.io(.|\n)*apt-get remove containerd.io"):
        containerd.step(host(mirror)).plan(have)


def test_another_version_names_the_instances_that_will_run_it_as_well(mirror: str, cached: Build) -> None:
    instances = Instances(settings={"two-pool": {"INSTANCE": "two"}, "containerd-pool": {}})
    for current, also in (("1.6.20-1", "; then also: inv deploy --instance two"), ("", "")):
        versions = FRESH.versions | {"containerd": Versions(current=current)}
        have = having(versions=versions, instances=instances)
        (switch,) = (why for why in reasons(containerd.step(host(mirror)).plan(have)) if why.startswith("containerd: "))
        assert switch == f"containerd: {current or 'none'} → {cached.key}{also}"
