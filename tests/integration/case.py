"""A machine with an inventory of its own: the lab's, with another pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.machine import Machine

SMALL_DIRECT = """
[defaults.pool]
variant = "direct"
devices = ["/dev/disk/by-id/virtio-lab-disk"]
data_percent = 1
meta_size = "8M"
threshold = 60
percent = 50
base_image_size = "256MB"
"""
"""A direct pool that has to grow soon, as settings for an inventory; see `Case`."""


class Case:
    """A machine and its inventory."""

    def __init__(self, machine: Machine, inventory: Path, pool: str) -> None:
        self.machine = machine
        self.inventory = inventory
        text = (machine.vm.directory.parent / "hosts.toml").read_text()
        inventory.write_text(text + pool)

    def fab(self, *args: str, code: int | None = 0) -> str:
        """Run fab with that inventory."""
        return self.machine.fab(*args, code=code, inventory=self.inventory)


@contextmanager
def started_with(
    request: pytest.FixtureRequest, suite: str, golden: Golden, inventory: Path, pool: str
) -> Iterator[Case]:
    """Deploy to a machine, and then once more with another pool.

    Args:
        request: request of the fixture.
        suite: name of the Debian generation.
        golden: the deployed machine to start from.
        inventory: path for the inventory, which does not exist yet.
        pool: settings of the pool.
    """
    with started(request, suite, base=golden.disk) as machine:
        case = Case(machine, inventory, pool)
        case.fab("pool.reset", "--yes")
        case.fab("deploy")
        yield case
