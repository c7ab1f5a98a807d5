"""The proof runs once for a setup, again when anything of it changed, and only with values that are ones."""

from __future__ import annotations

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.inventory import Host, Pool
from fabfile.plan import Command
from fabfile.steps import smoke
from tests.unit.steps.conftest import FRESH, with_versions

HOST = Host(registry="http://registry.example:5000", image="library/hello-world:latest")


def test_it_is_planned_once_for_a_setup() -> None:
    (run,) = smoke.step(HOST).plan(FRESH)
    assert isinstance(run, Command)
    assert run.script.index("registry.example:5000/library/hello-world:latest") < run.script.index(HOST.daemon.record)
    done = msgspec.structs.replace(FRESH, smoke=smoke.key(FRESH, HOST))
    assert smoke.step(HOST).plan(done) == []


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(HOST, image="library/busybox:latest"),
        msgspec.structs.replace(HOST, registry="https://docker.io"),
        msgspec.structs.replace(HOST, pool=Pool(name="other")),
    ],
)
def test_another_setup_is_proved_anew(other: Host) -> None:
    assert smoke.step(other).plan(msgspec.structs.replace(FRESH, smoke=smoke.key(FRESH, HOST)))


def test_so_is_another_version() -> None:
    newer = msgspec.structs.replace(with_versions("runc", current="1.3.0-k"), smoke=smoke.key(FRESH, HOST))
    assert smoke.step(HOST).plan(newer)


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
def test_what_is_no_registry_or_image_is_refused(change: dict[str, str], what: str) -> None:
    with pytest.raises(Refused, match=what):
        smoke.script(msgspec.structs.replace(HOST, **change))
