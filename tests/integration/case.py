"""A machine with an inventory of its own: the lab's, and a pool that differs."""

from __future__ import annotations

from pathlib import Path

from tests.integration.conftest import Machine


class Case:
    """The machine and its inventory."""

    def __init__(self, machine: Machine, inventory: Path, pool: str) -> None:
        self.machine = machine
        self.inventory = inventory
        text = (machine.vm.directory.parent / "hosts.toml").read_text()
        inventory.write_text(text + pool)

    def fab(self, *args: str, code: int | None = 0) -> str:
        """Run fab with that inventory."""
        return self.machine.fab(*args, code=code, inventory=self.inventory)
