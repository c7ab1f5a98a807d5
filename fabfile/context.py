"""What a task acts on: this machine, or a host."""

from __future__ import annotations

from typing import Any, Protocol


class Context(Protocol):
    """What we use of an Invoke `Context` (this machine) or a Fabric `Connection` (a host); steps see no difference.

    What only a connection has is used in one place each: `begin` and `takes_long_commands` in `carry`, `host` in
    `target`, `host_entry` in `inventory` and `steps.origin`.
    """

    @property
    def config(self) -> Any:
        """Invoke's configuration with the core options; `config.run.dry` is --dry."""
