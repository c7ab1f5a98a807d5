"""The ways to the hosts of one run: a connection to each host, and one to each gateway for all hosts behind it."""

from __future__ import annotations

import threading
from typing import Any

from fabfile.host import Host
from fabfile.inventory import Inventory
from fabfile.selection import PLAIN
from fabfile.ssh import config
from fabfile.ssh.known_hosts import Known
from fabfile.ssh.machine import Machine


class Ways:
    """All connections of a run. Leaving it closes those that are shared.

    Args:
        inventory: where gateways are looked up.
        config: Fabric's configuration; every connection gets a clone, or one host's identity leaks to the next.
    """

    def __init__(self, inventory: Inventory, config: Any) -> None:
        self.inventory, self.config = inventory, config
        self._shared: dict[tuple[Any, ...], Machine] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> Ways:
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close what is shared."""
        for machine in reversed(self._shared.values()):
            machine.close()

    def to(self, host: Host, known: Known | None = None) -> Machine:
        """A new connection to a host, through its gateways; nothing is sent before its first use.

        Args:
            host: of the inventory.
            known: what its key is compared with; None: what its files say.
        """
        host = config.applied(host, self._said(host.name), self.config)
        return Machine(host, self.config.clone(), self._gateway(host.gateway), hops=self._hop, known=known)

    def _said(self, name: str) -> set[str]:
        """The keys of a host that hosts.toml or `user@host:port` sets: ~/.ssh/config does not override those."""
        said, typed = self.inventory.said, PLAIN.fullmatch(name)
        if name in said or not typed:
            return {*said.get(name, ())}
        return {*said.get(typed["host"], said.get("", ())), *(key for key in ("user", "port") if typed[key])}

    def _gateway(self, name: str) -> Machine | None:
        """The connection to a host of the inventory that others are behind."""
        if not name:
            return None
        with self._lock:
            if (name,) not in self._shared:
                self._shared[name,] = self.to(self.inventory.hosts[name])
            return self._shared[name,]

    def _hop(self, host: Host, config: Any, gateway: Machine | None, hop: str, *rest: Any) -> Machine:
        """The connection to a ProxyJump: hosts share it that would verify it by the same files, on the same way."""
        key = (hop, gateway and id(gateway), host.known_hosts, host.connect_timeout)
        with self._lock:
            if key not in self._shared:
                self._shared[key] = Machine(host, config, gateway, hop, *rest)
            return self._shared[key]
