"""What a task acts on: the controller (inv), or another host (fab)."""

from __future__ import annotations

from typing import Any, Protocol


class Context(Protocol):
    """The part of an Invoke `Context` (inv) or a Fabric `Connection` (fab) that is used; steps see no difference.

    Attributes that only a connection has: `begin`, `user` and `takes_long_commands`, which are used in `execution`;
    `host`, used in `target`; and `host_entry`, used in `inventory` and `steps.origin`.
    """

    @property
    def config(self) -> Any:
        """Invoke's configuration with the core options; `config.run.dry` is --dry."""
