"""The connections of one run: one to each host, and one to each gateway, shared by all hosts behind it."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import msgspec

from fabfile.host import Host
from fabfile.inventory import Inventory
from fabfile.selection import listed, typed
from fabfile.ssh import config
from fabfile.ssh.known_hosts import HostEntries
from fabfile.ssh.machine import Machine


class Connections:
    """All connections of a run, as a context; leaving it closes the shared connections.

    Args:
        inventory: the inventory, in which gateways are looked up.
        fabric: Fabric's configuration, which all connections share: nothing of ours changes it, and a clone for each
            host would cost more than its login.
    """

    def __init__(self, inventory: Inventory, fabric: Any) -> None:
        self.inventory, self.config = inventory, fabric
        # Invoke reads these attributes at every lookup; without them, it first makes a message that lists all.
        fabric._set(_root=fabric, _keypath=())
        # Both Fabric and we look up each host.
        fabric.base_ssh_config.lookup = cache(fabric.base_ssh_config.lookup)
        self._shared: dict[tuple[Any, ...], Machine] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> Connections:
        """Enter the context."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the shared connections, the last one first."""
        for machine in reversed(self._shared.values()):
            machine.close()

    def to(self, host: Host, known: HostEntries | None = None) -> Machine:
        """Return a new connection to a host, through its gateways; nothing is sent before its first use.

        Args:
            host: a host of the inventory.
            known: entries to compare the host's key with; None: those in its known_hosts files.

        Raises:
            Refused: see `config.applied`.
        """
        host = config.applied(host, self._set_by_inventory(host.name), self.config)
        if limit := self.config.connect_kwargs.get("timeout"):  # where Fabric keeps the value of -t
            host = msgspec.structs.replace(host, connect_timeout=limit)
        return Machine(host, self.config, self._gateway(host.gateway), hops=self._hop, known=known)

    def _set_by_inventory(self, name: str) -> set[str]:
        """Return the keys of a host that hosts.toml or `user@host:port` sets; ~/.ssh/config does not override those."""
        hosts = self.inventory.hosts
        return {*self.inventory.origins.get(listed(hosts, name), ()), *typed(hosts, name)}

    def _gateway(self, name: str) -> Machine | None:
        """Return the shared connection to a gateway, by its name in the inventory; None: there is no gateway."""
        if not name:
            return None
        with self._lock:
            if (name,) not in self._shared:
                self._shared[name,] = self.to(self.inventory.hosts[name])
            return self._shared[name,]

    def _hop(self, host: Host, config: Any, gateway: Machine | None, hop: str, *rest: Any) -> Machine:
        """Return the connection to a jump host of ~/.ssh/config.

        Hosts share it if they reach it the same way and would verify it by the same known_hosts files.
        """
        key = (hop, gateway and id(gateway), host.known_hosts, host.connect_timeout)
        with self._lock:
            if key not in self._shared:
                self._shared[key] = Machine(host, config, gateway, hop, *rest)
            return self._shared[key]
