"""Two operators at once on one real host: the second waits, or is told who holds the lock, as they choose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.local import sshd
from tests.integration.local.test_interruption import Run, inventory, steps


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[sshd.Server]]:
    """The host."""
    with sshd.server(tmp_path_factory.mktemp("sshd")) as up:
        yield [up]


def both(servers: list[sshd.Server], directory: Path, *second: str) -> tuple[Run, Run]:
    """Two operators, the second a little later, each with three steps of their own that take two seconds each."""
    runs = []
    for name, words in (("one", ()), ("two", second)):
        own = directory / name
        own.mkdir()
        runs.append(Run(own, inventory(servers, own), "fab", *words, "-H", "h0", *steps(own)))
        if name == "one":
            runs[0].has("h0.first.pid")
    return runs[0], runs[1]


def test_the_second_is_told_who_holds_the_lock(servers: list[sshd.Server], tmp_path: Path) -> None:
    one, two = both(servers, tmp_path, "--wait-lock", "0")
    two.end(1)
    one.end(0)
    assert "first: another operator is changing this machine" in two.err and "held by root from 127.0.0.1" in two.err
    assert "--wait-lock 600" in two.err and two.made() == set()
    assert one.made() == {"h0.first", "h0.second", "h0.third"}


def test_the_second_waits_until_the_first_has_ended_all_its_steps(servers: list[sshd.Server], tmp_path: Path) -> None:
    one, two = both(servers, tmp_path, "--wait-lock", "120")
    one.end(0)
    two.end(0, 60)
    assert one.made() == two.made() == {"h0.first", "h0.second", "h0.third"}
