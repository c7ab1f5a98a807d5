"""A deploy up to one of its steps."""

from __future__ import annotations

import pytest

from fabfile import facts
from fabfile.errors import Refused
from fabfile.facts.query import together
from fabfile.host import Host, Pool
from fabfile.steps import deploy


def names(host: Host, last: str = "") -> list[str]:
    return [step.name for step in deploy.up_to(deploy.steps(host), last)]


def test_it_has_the_steps_up_to_the_last() -> None:
    assert names(Host()) == [
        "packages",
        "containerd.install",
        "runc.install",
        "pool.loop",
        "pool",
        "containerd.configure",
        "smoke",
    ]
    assert names(Host(), "packages") == ["packages"]
    assert names(Host(), "runc.install") == ["packages", "containerd.install", "runc.install"]
    assert names(Host(pool=Pool(variant="direct")), "pool.direct")[-1] == "pool.direct"


def test_only_what_these_steps_read_is_gathered() -> None:
    query = together([step.query for step in deploy.up_to(deploy.steps(Host()), "runc.install")])
    asked = facts.asked(query)
    assert {"needs", "versions"} < set(asked) and not {"pool", "lvm", "smoke", "proof"} & set(asked)


def test_a_step_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(Refused, match=r"no step 'pool\.direct'") as refused:
        names(Host(), "pool.direct")
    assert "packages, containerd.install, runc.install, pool.loop" in refused.value.details
