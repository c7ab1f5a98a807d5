"""Several hosts as a table: status and doctor."""

from __future__ import annotations

from time import process_time

import msgspec
import pytest

from fabfile import hints
from fabfile.facts import Facts
from fabfile.facts.containerd import Containerd, Plugin
from fabfile.facts.versions import Versions
from fabfile.host import Host, Pool
from fabfile.output.answer import Answer
from fabfile.pool.health.finding import Finding
from fabfile.steps import findings_table, overview
from fabfile.steps.status import checks
from tests.unit.pool.loops import NAME, machine, pool, state
from tests.unit.steps.conftest import having

HOST = Host(pool=Pool(name=NAME))
RUNS = Containerd(active=True, plugins=(Plugin("io.containerd.snapshotter.v1", "devmapper", "ok"),))


def deployed(version: str = "2.3.1-0123456789ab", **changes: object) -> Facts:
    """A host on which all is well."""
    have = machine(state("rw", used_data=1_000_000))
    versions = have.versions | {"containerd": Versions(version), "runc": Versions("1.3.3-0123456789ab")}
    return msgspec.structs.replace(have, **{"containerd": RUNS, "versions": versions, **changes})


def of(**hosts: Facts) -> dict[str, Answer]:
    """What status answers on hosts."""
    found = {}
    for name, have in hosts.items():
        found[name] = Answer()
        with hints.entered(msgspec.structs.replace(HOST, name=name)):
            found[name].row = overview.row(HOST, have)
    return found


def test_a_row_a_host() -> None:
    lines = overview.table(of(web01=deployed(), web02=deployed()), 100)
    assert [line.split() for line in lines] == [
        ["host", "kernel", "containerd", "runc", "pool", "size", "data", "metadata"],
        ["web01", "6.1", "2.3.1", "1.3.3", "rw", "100.0G", "61.0%", "0.5%"],
        ["web02", "6.1", "2.3.1", "1.3.3", "rw", "100.0G", "61.0%", "0.5%"],
    ]


def test_what_differs_is_said_below() -> None:
    hosts = {f"web{number:02}": deployed() for number in range(1, 11)}
    lines = overview.table(of(**hosts, web11=deployed("2.3.0-0123456789ab"), web12=having()), 100)
    assert "drift: containerd 2.3.1 on web[01-10], 2.3.0 on web11, none on web12" in lines
    assert "drift: pool loop on web[01-11], none on web12" in lines
    assert not any(line.startswith(("drift: kernel", "drift: pool.size")) for line in lines)


@pytest.mark.parametrize(
    ("have", "cells"),
    [
        (having(), ["h", "6.1", "none", "none", "none"]),
        (deployed(containerd=Containerd()), ["2.3.1, not running"]),
        (deployed(containerd=Containerd(changing="activating (start)")), ["2.3.1, activating (start)"]),
        (deployed(containerd=Containerd(active=True)), ["2.3.1, devmapper unknown"]),
        (deployed(pool=pool(table=None, status=None)), ["DOWN"]),
        (deployed(pool=state("ro", needs_check=True)), ["ro, NEEDS CHECK"]),
        (deployed(pool=pool(suspended=True)), ["rw, SUSPENDED"]),
    ],
)
def test_what_is_not_as_it_should_be_is_in_the_row(have: Facts, cells: list[str]) -> None:
    line = overview.table(of(h=have), 100)[1]
    assert all(cell in line for cell in cells)


def test_what_is_wrong_with_pools_is_said_once_with_a_fix_for_all() -> None:
    down = deployed(pool=pool(table=None, status=None))
    lines = overview.table(of(web1=down, web2=deployed(), web3=down), 100)
    at = lines.index("fail  pool                   it is down: its unit does not run")
    assert lines[at + 1].strip() == "2 hosts: web[1,3]"
    assert "fab -H 'web[1,3]' pool.check" in lines[at + 2] and "web1 " not in lines[at + 2]


def test_the_reason_of_containerd_is_not_lost() -> None:
    broken = Plugin("io.containerd.snapshotter.v1", "devmapper", "error")
    have = deployed(containerd=Containerd(active=True, plugins=(broken,), reason="dmsetup not found"))
    lines = overview.table(of(web1=have), 100)
    assert any("dmsetup not found" in line for line in lines)
    assert any(line.endswith("fab -H web1 doctor") for line in lines)


def test_further_pools_of_a_host_are_in_its_row() -> None:
    have = deployed()
    other = have.instances.settings[NAME]
    more = msgspec.structs.replace(have.instances, settings={**have.instances.settings, "two-pool": other})
    lines = overview.table(of(web1=msgspec.structs.replace(have, instances=more)), 100)
    assert lines[2].split() == ["two-pool:", "DOWN"]


@pytest.mark.parametrize("width", [40, 60, 100])
def test_it_fits_and_nothing_is_cut(width: int) -> None:
    kernel, host = "6.12.48+deb13-cloud-amd64-" + "x" * 40, "a-host-with-a-long-name" * 3
    system = msgspec.structs.replace(having().system, kernel=kernel)
    lines = overview.table(of(**{host: deployed(system=system)}), width)
    assert max(map(len, lines)) <= width
    assert sum(line.count("x") for line in lines) == 40
    assert not any("…" in line for line in lines)


def test_a_thousand_hosts_cost_ten_times_a_hundred() -> None:
    def seconds(count: int) -> float:
        answers = of(**{f"web{number}": deployed() for number in range(count)})
        start = process_time()
        overview.table(answers, 100)
        return process_time() - start

    seconds(10)
    assert seconds(1000) < 30 * seconds(100)


def found(**hosts: list[Finding]) -> list[str]:
    """What doctor shows of hosts."""
    answers = {host: Answer() for host in hosts}
    for host, each in answers.items():
        each.row = hosts[host]
    return findings_table.table(answers, 100)


WELL = [Finding("systemd", "ok", "runs"), Finding("pool", "ok", "rw")]


def use(host: str, percent: int) -> Finding:
    """A pool that is nearly full."""
    return Finding("pool data", "warn", f"{percent}% used", f"fab -H {host} pool.grow --size 120G")


def test_each_finding_once_the_worst_first_and_hosts_that_are_well_in_a_line() -> None:
    masked = Finding("containerd", "fail", "is masked", "systemctl unmask containerd")
    lines = found(
        web1=WELL, web2=[*WELL, use("web2", 85)], web3=[use("web3", 85), masked], web4=[use("web4", 91)], web5=WELL
    )
    behind = " " * findings_table.BEHIND
    assert lines == [
        "fail  containerd             is masked",
        f"{behind}1 host: web3",
        "      → systemctl unmask containerd",
        "warn  pool data              85% used",
        f"{behind}2 hosts: web[2-3]",
        f"{behind}91% used",
        f"{behind}1 host: web4",
        "      → fab -H 'web[2-4]' pool.grow --size 120G",
        "ok    2 hosts: web[1,5]",
    ]


def test_two_findings_of_one_kind_on_one_host_are_both_shown() -> None:
    files = [Finding("pool files", "fail", f"{name} is missing", "pool.rescue") for name in ("data", "meta")]
    lines = [line.strip() for line in found(web1=files, web2=files[:1])]
    assert lines == [
        "fail  pool files             data is missing", "2 hosts: web[1-2]", "meta is missing", "1 host: web1",
        "→ pool.rescue",
    ]  # fmt: skip


def test_a_fix_that_differs_is_another_finding() -> None:
    lines = found(web1=[Finding("pool", "fail", "down", "run a")], web2=[Finding("pool", "fail", "down", "run b")])
    assert [line.strip() for line in lines if "→" in line] == ["→ run a", "→ run b"]


def test_hosts_that_are_all_well_need_one_line() -> None:
    with hints.entered(msgspec.structs.replace(HOST, name="web1")):
        assert found(web1=checks(HOST, deployed()), web2=checks(HOST, deployed())) == ["ok    2 hosts: web[1-2]"]


def test_long_words_wrap_and_a_command_stays_whole() -> None:
    command = "systemctl restart " + "unit" * 40
    lines = found(web1=[Finding("pool", "fail", "why " * 40 + "x" * 200, command)])
    assert lines[-1] == f"      → {command}"
    assert max(map(len, lines[:-1])) <= 100
    assert "".join(lines).count("x") == 200
