"""Which packages a machine is missing, in each family."""

from __future__ import annotations

import pytest

from fabfile import apply, distributions, facts
from fabfile.converge import converge
from fabfile.errors import Refused
from fabfile.facts import Facts, needs
from fabfile.facts.needs import PROBES
from fabfile.host import Host
from fabfile.plan import Command
from fabfile.steps import packages
from tests.unit.fakes import Machine, recorded
from tests.unit.steps.conftest import having, with_system

BUILDS = Host(build="host")


def test_every_need_has_a_package_in_every_family() -> None:
    for family in distributions.PACKAGES.values():
        assert family.keys() == PROBES.keys()
    assert set(distributions.RUN + distributions.BUILD) == set(PROBES)
    assert distributions.PACKAGES.keys() == packages.INSTALL.keys()


def test_a_machine_with_all_packages_is_left_alone() -> None:
    assert packages.step(BUILDS).plan(having()) == []


def facts_output(met: str) -> str:
    """What a machine answers that is asked for packages only."""
    sections = {name: recorded(name, "fresh") for name in facts.asked(packages.step(Host()).query)}
    return "".join(f"@@ {name}\n{text}" for name, text in {**sections, "needs": met}.items())


def test_packages_are_installed_by_the_facts_that_were_asked_for() -> None:
    met = "".join(f"{probe}\n" for probe in PROBES.values())
    c = Machine([facts_output(met.replace("lvm\n", "")), facts_output(met)], applied=[(0, "")])
    (outcome,) = converge(c, [packages.step(Host())])
    assert (outcome.status, outcome.reason) == ("changed", "packages lvm2")
    assert c.log == ["gather", "apply"]


@pytest.mark.parametrize("path", PROBES["certificates"].split())
def test_certificates_may_be_where_any_distribution_has_them(path: str) -> None:
    others = " ".join(probe for need, probe in PROBES.items() if need != "certificates")
    assert needs.parse(f"{others} {path}\n") == frozenset(PROBES)
    assert "certificates" not in needs.parse(others)


def test_only_what_is_missing_is_installed_each_package_once() -> None:
    have = having(needs=frozenset(PROBES) - {"lvm", "dmsetup", "gcc"})
    (change,) = packages.step(Host()).plan(have)
    assert change.why == "packages dmsetup lvm2"
    (change,) = packages.step(BUILDS).plan(have)
    assert change.why == "packages dmsetup gcc lvm2"


def lacking_thin_check(**system: str) -> Facts:
    have = with_system(**system)
    return having(system=have.system, needs=have.needs - {"thin_check"})


@pytest.mark.parametrize(
    ("family", "script"),
    [
        ("debian", "apt install --no-install-recommends thin-provisioning-tools"),
        ("redhat", "$(command -v dnf || command -v yum) -y install device-mapper-persistent-data"),
    ],
)
def test_each_family_has_its_names_and_its_command(family: str, script: str) -> None:
    (change,) = packages.step(Host()).plan(lacking_thin_check(family=family))
    assert isinstance(change, Command) and script in change.script


def test_apts_locks_are_waited_for_within_a_limit_and_that_is_noted() -> None:
    (change,) = packages.step(Host()).plan(lacking_thin_check(family="debian"))
    assert isinstance(change, Command)
    assert '[ "$waited" -lt 120 ]' in change.functions
    said = 'echo "note: waited $waited s for $held"'
    assert said in change.functions and said not in change.script
    printed = "\n@@0\nnote: waited 4 s for /var/lib/apt/lists/lock\nnotes: none\n\n@@ system\nnote: no change's\n"
    assert apply.notes(printed) == ["waited 4 s for /var/lib/apt/lists/lock"]


def test_an_unknown_distribution_is_refused_only_if_something_is_missing() -> None:
    assert packages.step(Host()).plan(with_system(family="alpine", distribution="alpine")) == []
    with pytest.raises(Refused, match=r"cannot install packages on alpine 12(.|\n)*missing: thin_check"):
        packages.step(Host()).plan(lacking_thin_check(family="alpine", distribution="alpine"))
