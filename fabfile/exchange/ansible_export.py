"""Write an Ansible inventory in YAML; `ansible-inventory -i FILE --graph` shows how Ansible reads it."""

from __future__ import annotations

from typing import Any

from fabfile import selection
from fabfile.errors import Refused
from fabfile.exchange import ssh_options
from fabfile.exchange.ansible import ALL, UNGROUPED
from fabfile.exchange.ssh_options import Hop
from fabfile.host import Host
from fabfile.inventory import Inventory

HEAD = "# Hosts, groups and connection settings of hosts.toml, by inventory.export.\n"

ARGUMENTS = "ansible_ssh_common_args"


def text(known: Inventory) -> str:
    """Return the inventory as YAML.

    Raises:
        Refused: a host or group has the name of a group that Ansible creates itself.
    """
    import yaml

    if taken := {ALL, UNGROUPED} & (known.hosts.keys() | known.groups.keys()):
        raise Refused(f"{known.file}: {taken.pop()} cannot be exported", "Ansible has a group of that name itself")
    common = {key: value for key, value in _variables(known.defaults, known).items() if value != _STOCK.get(key)}
    base = {**_STOCK, **common}
    hosts: dict[str, Any] = {}
    for name, host in known.hosts.items():
        own = {key: value for key, value in _variables(host, known).items() if value != base.get(key)}
        hosts[name] = {"ansible_host": host.address} | own if host.address != name else own
    whole: dict[str, Any] = {"vars": common, "hosts": hosts, "children": {}}
    for group, members in known.groups.items():
        inner = [member for member in members if member in known.groups]
        outer = selection.choose(known.chosen, [member for member in members if member not in known.groups])
        whole["children"][group] = {
            "hosts": {host.name: {} for host in outer},
            "children": {name: {} for name in inner},
        }
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return HEAD + str(yaml.dump({ALL: whole}, Dumper=dumper, sort_keys=False, width=120))


def notes(known: Inventory) -> list[str]:
    """Return notes about gateways with settings that ssh does not read from an Ansible inventory."""
    gateways = [
        known.hosts[name] for name in dict.fromkeys(host.gateway for host in known.hosts.values() if host.gateway)
    ]
    stock = Host()
    special = [host for host in gateways if host.identity_file or host.known_hosts != stock.known_hosts]
    why = "ssh takes the key and the known_hosts file of a jump host from its own configuration: set them there"
    return [f"hosts.{host.name} ({host.address}): {why}" for host in special]


def _variables(host: Host, known: Inventory) -> dict[str, Any]:
    """Return all variables for the connection to a host, including those with default values."""
    return {
        "ansible_port": host.port,
        "ansible_user": host.user,
        "ansible_ssh_private_key_file": host.identity_file,
        "ansible_ssh_timeout": host.connect_timeout,
        ARGUMENTS: ssh_options.write(
            _hops(host, known), host.known_hosts if host.known_hosts != Host().known_hosts else ""
        ),
    }


_STOCK: dict[str, Any] = {
    "ansible_port": 22,
    "ansible_ssh_private_key_file": "",
    "ansible_ssh_timeout": 20,
    ARGUMENTS: "",
}
"""Values that need not be written. A user is always written: Ansible's default is the user who runs Ansible."""


def _hops(host: Host, known: Inventory) -> list[Hop]:
    """Return the jump hosts on the way to a host, by address, because ssh does not know the inventory's names."""
    hops: list[Hop] = []
    while host.gateway in known.hosts:
        host = known.hosts[host.gateway]
        hops.insert(0, Hop(host.address, host.user, str(host.port)))
    return hops
