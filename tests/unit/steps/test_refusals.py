"""doctor names what a deploy would refuse, once, and from one look."""

from __future__ import annotations

from typing import Any

import pytest

from fabfile import facts
from fabfile.artefacts import build
from fabfile.errors import Failed, Refused
from fabfile.facts import Facts
from fabfile.host import Host, Pool
from fabfile.plan import Change, Step
from fabfile.pool.health.finding import Finding
from fabfile.steps import refusals
from fabfile.steps.refusals import Refusal
from tests.unit.fakes import Machine, looks_like, recorded
from tests.unit.steps.conftest import having


def refusing(error: Exception) -> Step:
    def plan(have: Facts) -> list[Change]:
        raise error

    return Step("one", plan)


def test_each_step_is_planned_and_what_two_refuse_is_named_once() -> None:
    first, down = Refused("no", "because", "a hint"), Failed("cannot download")
    found = refusals.refusals_of(
        [refusing(first), Step("fine", lambda have: []), refusing(first), refusing(down)], having()
    )
    assert found == [Refusal("no", "because", "a hint"), Refusal("cannot download", "", "")]


def looked(mirror: str, **sections: str) -> tuple[Any, list[Refusal]]:
    """A fresh machine, except for the given facts, and what was found on it."""
    machine: Any = Machine([looks_like(**sections)])
    machine.host_entry = Host(release="lab", mirror=mirror)
    return machine, refusals.gather_with_refusals(machine, "")[2]


def test_a_deploy_that_would_be_refused_is_found_in_one_look(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_is_there", lambda tool: True)  # what this computer can build is not the question
    machine, found = looked(mirror)
    assert found == []
    assert machine.log == ["gather"] and facts.proof.PREFIX in machine.scripts[0]
    lines = recorded("pool", "fresh").splitlines()
    place = next(line for line in lines if line.startswith("place "))
    tmpfs = "\n".join("place tmpfs 1000000000 /" if line == place else line for line in lines)
    assert [one.what for one in looked(mirror, pool=f"{tmpfs}\n")[1]] == [
        "/var/lib/containerd/devmapper is on tmpfs, which cannot carry a pool"
    ]
    read_only = "\n".join([*lines, "read_only yes"])
    assert [(one.what, one.hint) for one in looked(mirror, pool=f"{read_only}\n")[1]] == [
        ("/var/lib/containerd/devmapper is on a file system that is mounted read-only", "mount -o remount,rw /")
    ]


def test_a_deploy_that_cannot_be_planned_is_found_too(mirror: str) -> None:
    machine: Any = Machine([looks_like()])
    machine.host_entry = Host(release="lab", mirror=mirror, pool=Pool(size="100"))
    (found,) = refusals.gather_with_refusals(machine, "")[2]
    assert "'100' is not a size" in found.what


def test_a_finding_is_not_shown_twice() -> None:
    from fabfile.steps.status import _refused

    shown = [Finding("pool", "fail", "it is suspended: all I/O waits")]
    assert _refused([Refusal("the pool x is not healthy", "it is suspended: all I/O waits", "")], shown) == []
    (row,) = _refused([Refusal("the pool x is not healthy", "another thing", "a hint")], shown)
    assert row == Finding("deploy", "fail", "would be refused: the pool x is not healthy; another thing", "a hint")
