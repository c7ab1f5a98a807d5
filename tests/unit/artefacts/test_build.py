"""Builds of containerd: their key, the order of the script, and what the controller needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fabfile.artefacts import releases
from fabfile.artefacts.build import Build, libc_version
from fabfile.errors import Refused
from tests.unit.artefacts.test_releases import OWN


def test_the_key_of_a_build_changes_with_all_that_it_depends_on() -> None:
    keys = {Build(releases.load(name, arch)).key for name in OWN for arch in ("amd64", "arm64")}
    assert len(keys) == 2 * len(OWN)
    build = Build(releases.load("2.3", "amd64"))
    assert build.key.startswith("2.3.4-") and build.label == f"containerd-{build.key}"
    assert "CGO_ENABLED=0" in build.script and "GO111MODULE=on" in build.script
    recipe = Build(releases.load("2020-04", "amd64"))
    assert "CGO_ENABLED" not in recipe.script and "GO111MODULE=off" in recipe.script
    assert "-buildvcs" in build.script and "-buildvcs" not in recipe.script, "Go has the option since 1.18"
    assert "containerd-shim-runc-v1" in recipe.programs


@pytest.mark.parametrize("name", OWN)
def test_containerd_is_built_by_itself_before_the_programs_that_share_its_packages(name: str) -> None:
    build = Build(releases.load(name, "amd64"))
    steps = [line.split()[1:] for line in build.script.splitlines() if line.startswith("build ")]
    first, others = [[f"bin/{program}" for program in found] for found in (["containerd"], build.programs[1:])]
    assert steps == [first, others]


def test_a_controller_that_lacks_a_tool_is_told_which_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    with pytest.raises(Refused, match="apt-get install git make tar, or build on the host"):
        Build(releases.load("2.3", arch)).check()
    with pytest.raises(Refused, match="apt-get install git make tar gcc pkg-config"):
        Build(releases.load("2020-04", arch)).check()


def test_a_host_of_another_architecture_or_with_an_older_c_library_is_refused() -> None:
    here, other = ("amd64", "arm64") if os.uname().machine == "x86_64" else ("arm64", "amd64")
    with pytest.raises(Refused, match=f"this controller is {here}, the host {other}"):
        Build(releases.load("2.3", other)).check()
    with pytest.raises(Refused, match=r"would not run on the host(.|\n)*glibc 2\.1 on the host"):
        Build(releases.load("2020-04", here)).check("glibc 2.1")


@pytest.mark.parametrize(("text", "version"), [("glibc 2.36", (2, 36)), ("glibc 2.9", (2, 9)), ("", ()), ("musl", ())])
def test_versions_of_the_c_library_compare_as_numbers(text: str, version: tuple[int, ...]) -> None:
    assert libc_version(text) == version
