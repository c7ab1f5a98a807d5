"""Write a configuration for ssh; with `Include` in ~/.ssh/config, ssh, scp and rsync know the hosts by name."""

from __future__ import annotations

from collections.abc import Iterator

from fabfile.exchange.ssh_options import path, word
from fabfile.host import Host
from fabfile.inventory import Inventory

HEAD = "# Hosts of hosts.toml, by inventory.export.\n"


def text(known: Inventory) -> str:
    """Return the text of the configuration.

    Raises:
        Refused: a value cannot be written in a configuration of ssh.
    """
    return HEAD + "".join("\n" + "\n    ".join(_block(host)) + "\n" for host in known.hosts.values())


def _block(host: Host) -> Iterator[str]:
    yield f"Host {host.name}"
    yield f"HostName {host.address.replace('%', '%%')}"
    yield f"Port {host.port}"
    yield f"User {word(host.user, f'hosts.{host.name}.user')}"
    if host.identity_file:
        yield f"IdentityFile {path(host.identity_file, f'hosts.{host.name}.identity_file')}"
    yield f"UserKnownHostsFile {path(host.known_hosts, f'hosts.{host.name}.known_hosts')}"
    yield "StrictHostKeyChecking yes"
    yield f"ConnectTimeout {host.connect_timeout}"
    if host.gateway:
        yield f"ProxyJump {host.gateway}"
