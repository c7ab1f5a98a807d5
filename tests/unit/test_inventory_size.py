"""Inventories of a size that programs write: reading costs what it has lines, and nothing more."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

import programs
from fabfile import inventory, paths
from fabfile.errors import Refused
from tests.unit import cost


@pytest.fixture(autouse=True)
def garbage() -> Iterator[None]:
    """Search for garbage as rarely as the programs do: each search goes through all that has been read by then."""
    before = gc.get_threshold()
    gc.set_threshold(programs.GARBAGE)
    yield
    gc.set_threshold(*before)


def seconds(text: str, hosts: int) -> float:
    """Processor time to read an inventory of so many hosts."""
    paths.inventory().write_text(text)
    gc.collect()
    with cost.measured() as reading:
        assert len(inventory.load().resolve(["hosts"])) == hosts
    return reading.seconds


def tables(count: int) -> str:
    """Hosts with a table each, and two tables for each of a pool."""
    names = ", ".join(f"'h{number}'" for number in range(count))
    hosts = (f"[hosts.h{each}]\nport = 22\nlabels = ['rack={each % 9}']\n[hosts.h{each}.pool]\nsize = '1G'\n"
             for each in range(count))  # fmt: skip
    return f"[groups]\nall = [{names}]\n{''.join(hosts)}"


def gateways(count: int) -> str:
    """Hosts behind chains of ten gateways."""
    return "".join(f"[hosts.h{each}]\n" + (f"gateway = 'h{each - 1}'\n" if each % 10 else "") for each in range(count))


@pytest.mark.parametrize("written", [tables, gateways])
def test_twice_as_many_hosts_cost_twice_as_much(written: object) -> None:
    assert callable(written)
    small, large = seconds(written(2500), 2500), seconds(written(20000), 20000)
    assert large < 30 and large < 24 * small, "8 times as many; by the square it would be 64"


@pytest.mark.parametrize("text", ["#" + "x" * 10_000_000, ("# " + "x" * 98 + "\n") * 100_000])
def test_a_comment_of_ten_megabytes_costs_little(text: str) -> None:
    assert seconds(f"{text}\n[hosts.a]\n", 1) < 3


def test_a_way_of_two_thousand_gateways_is_refused_at_once() -> None:
    hosts = "[hosts.h0]\n" + "".join(f"[hosts.h{each}]\ngateway = 'h{each - 1}'\n" for each in range(1, 2000))
    with cost.at_most(3), pytest.raises(Refused, match=r"hosts\.h17\.gateway: 17 gateways lead there"):
        seconds(hosts, 2000)


def test_a_long_ring_of_gateways_is_one_short_error() -> None:
    hosts = "".join(f"[hosts.h{each}]\ngateway = 'h{(each - 1) % 2000}'\n" for each in range(2000))
    with pytest.raises(Refused, match="a cycle") as refused:
        seconds(hosts, 2000)
    assert len(refused.value.details) <= inventory.LONG
