"""Two labs that start at the same time: each gets a registry of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fabfile.errors import Failed
from fabfile.lab import mirror, process, registry, vm
from fabfile.lab.directory import REGISTRY


@pytest.fixture
def labs(tmp_path: Path) -> Iterator[list[Path]]:
    """The directories of two labs."""
    found = [tmp_path / "one", tmp_path / "two"]
    with ExitStack() as stack:
        for each in found:
            each.mkdir()
            stack.callback(registry.stop, each)
        yield found


def port(lab: Path) -> int:
    return int((lab / REGISTRY / "port").read_text())


def test_a_port_that_another_lab_took_meanwhile_is_not_used(labs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = labs
    holds = mirror.build()
    registry.start(first, holds)
    find, seen = registry._port, [port(first)]
    monkeypatch.setattr(registry, "_port", lambda place: seen.pop() if seen else find(place))
    address = registry.start(second, holds)
    assert not seen and address.endswith(f":{port(second)}") and port(first) != port(second)
    assert all(process.read(lab / REGISTRY / vm.PROCESS) for lab in labs)
    assert [registry._runs(lab / REGISTRY) for lab in labs] == [True, True]
    registry.start(first, holds)
    (second / REGISTRY / "port").write_text(str(port(first)))
    assert not registry._runs(second / REGISTRY), "what responds there is another lab's"


def test_a_registry_that_does_not_start_for_another_reason_is_started_once(labs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "docker-registry").write_text("#!/bin/sh\necho begun >>begun; echo the reason >&2; exit 1\n")
    (tmp_path / "docker-registry").chmod(0o755)
    with pytest.raises(Failed, match="the lab's registry did not start") as failed:
        registry.start(labs[0], tmp_path)
    assert "the reason" in failed.value.details
    assert (labs[0] / REGISTRY / "begun").read_text() == "begun\n"
