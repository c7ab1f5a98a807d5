"""hosts.toml → frozen `Host` objects; names and groups → hosts. Every mistake is named with its key."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fabfile import paths
from fabfile.daemon import DEFAULT, Daemon, check_instance
from fabfile.errors import Refused

if TYPE_CHECKING:
    from invoke import Context

ALL = "hosts"
"""The group that always means every host."""


class Pool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A machine's thin pool, as asked for; each variant reads its own keys of it."""

    variant: Literal["loop", "direct"] = "loop"
    dir: str = "/var/lib/containerd/devmapper"
    """Also where containerd keeps the snapshotter's database, whatever the variant."""
    meta_size: str = ""
    base_image_size: str = "10GB"
    threshold: int = 80
    """Percent used at which the pool grows by itself; 100: never."""
    percent: int = 20
    """By how much of its size it grows then."""
    max_size: str = ""
    when_full: Literal["queue", "error"] = "queue"

    name: str = "containerd-pool"
    """loop: of the pool. direct: LVM's, from vg and pool."""
    size: str = "100G"
    block_size: str = "64K"
    volume: str = ""
    volume_size: str = ""

    devices: tuple[str, ...] = ()
    vg: str = "containerd"
    pool: str = "thinpool"
    data_percent: int = 80
    """Of the volume group's extents."""
    chunk_size: str = "512K"

    @property
    def dm_name(self) -> str:
        """The name of the pool's device, which is also its unit's and containerd's `pool_name`.

        Of a direct pool it is LVM's own: both names with their hyphens doubled. What LVM says of the pool that is there
        is compared with it.
        """
        if self.variant == "loop":
            return self.name
        return "-".join(name.replace("-", "--") for name in (self.vg, self.pool))


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One machine and what it should become."""

    name: str = ""
    address: str = ""
    port: int = 22
    user: str = "root"
    identity_file: str = ""
    known_hosts: str = "~/.ssh/known_hosts"
    gateway: str = ""
    connect_timeout: int = 20
    release: str = "2.3"
    mirror: str = ""
    registry: str = "https://docker.io"
    image: str = "library/hello-world:latest"
    build: str = "controller"
    bin_dir: str = "/usr/local/bin"
    instance: str = ""
    """Which containerd of the machine this is about; empty: the default one."""
    pool: Pool = Pool()

    @property
    def daemon(self) -> Daemon:
        """Its containerd."""
        return Daemon(self.instance, self.bin_dir)


class Inventory(msgspec.Struct, frozen=True):
    """What hosts.toml says."""

    file: Path
    defaults: Host
    parallel: int
    hosts: dict[str, Host]
    groups: dict[str, list[str]]

    def resolve(self, names: list[str]) -> list[Host]:
        """The hosts that names of hosts and groups stand for, each once, in the order given.

        Raises:
            Refused: a name that is neither; no name at all; a group that holds nothing.
        """
        found: dict[str, Host] = {}
        for name in filter(None, (name.strip() for name in names)):
            if name in self.hosts:
                found[name] = self.hosts[name]
                continue
            members = list(self.hosts) if name == ALL else self.groups.get(name)
            if members is None:
                known = [*self.hosts, *self.groups, ALL]
                near = difflib.get_close_matches(name, known, n=1)
                raise Refused(
                    f"no host or group {name!r} in {self.file}",
                    f"known: {', '.join(known)}",
                    hint=f"did you mean {near[0]!r}?" if near else f"add [hosts.{name}] to {self.file}",
                )
            found.update((member, self.hosts[member]) for member in members)
        if not found:
            raise Refused(f"no hosts named by {','.join(names)!r}", f"{self.file} holds {len(self.hosts)} hosts")
        return list(found.values())


def load(file: Path | None = None) -> Inventory:
    """Read the inventory.

    Args:
        file: another file than hosts.toml or $HOSTS_FILE.

    Raises:
        Refused: the file is missing or not TOML; an unknown key, a wrong type, two hosts with one address, a group
            or gateway that names no host.
    """
    import toml

    file = file or paths.inventory()
    try:
        raw = toml.loads(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read the inventory {file}", str(error), hint="HOSTS_FILE names another one") from error
    except (toml.TomlDecodeError, IndexError) as error:  # toml 0.10 lets an IndexError out on some broken files
        raise Refused(f"{file} is not TOML", str(error)) from error
    return _inventory(file, raw)


def _inventory(file: Path, raw: dict[str, Any]) -> Inventory:
    for section, content in raw.items():
        if section not in ("defaults", "hosts", "groups"):
            raise Refused(f"{file}: unknown section [{section}]", "known: [defaults] [groups] [hosts.NAME]")
        if not isinstance(content, dict):
            raise Refused(f"{file}: {section}: Expected a table, got {type(content).__name__}")
    defaults = dict(raw.get("defaults", {}))
    parallel = _convert(file, "defaults.parallel", defaults.pop("parallel", 16), int)
    if parallel < 1:
        raise Refused(f"{file}: defaults.parallel: {parallel} is not a number of threads", "at least 1")
    for key in ("name", "address"):
        if key in defaults:
            raise Refused(f"{file}: defaults.{key}: every host has its own", hint=f"move it to [hosts.NAME] {key}")
    stock = _convert(file, "defaults", defaults, Host)  # first: a mistake in the defaults is not each host's
    hosts = {name: _host(file, name, defaults, own) for name, own in raw.get("hosts", {}).items()}
    groups = {name: _convert(file, f"groups.{name}", of, list[str]) for name, of in raw.get("groups", {}).items()}
    inventory = Inventory(file, stock, parallel, hosts, groups)
    _check(inventory)
    return inventory


def _host(file: Path, name: str, defaults: dict[str, Any], own: Any) -> Host:
    key = f"hosts.{name}"
    if not isinstance(own, dict):
        raise Refused(f"{file}: {key}: Expected a table, got {type(own).__name__}", hint=f"write [{key}]")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise Refused(f"{file}: {key}: not a usable host name", "letters, digits, dot, hyphen, underscore")
    if name == ALL:
        raise Refused(f"{file}: {key}: the name is taken", f"the group {ALL} always means all")
    if not isinstance(own.get("pool", {}), dict):
        raise Refused(f"{file}: {key}.pool: Expected a table", hint=f"write [{key}.pool]")
    # pool is a table of its own: a host changes single keys of it
    pool = {**defaults.get("pool", {}), **own.get("pool", {})}
    merged = {"address": name, **defaults, **own, "name": name, "pool": pool}
    host: Host = _convert(file, key, merged, Host)
    return host


def _convert(file: Path, key: str, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        raise Refused(f"{file}: {key}{where.strip('`').removeprefix('$')}: {message}") from error


def _check(inventory: Inventory) -> None:
    seen: dict[tuple[str, int], str] = {}
    for name, host in inventory.hosts.items():
        if not 0 < host.port < 65536:
            raise Refused(f"{inventory.file}: hosts.{name}.port: {host.port} is not a TCP port")
        if host.build not in ("controller", "host"):
            raise Refused(f"{inventory.file}: hosts.{name}.build: {host.build!r}", "either controller or host")
        if host.gateway and (host.gateway not in inventory.hosts or host.gateway == name):
            raise Refused(f"{inventory.file}: hosts.{name}.gateway: no other host {host.gateway!r}")
        if host.instance not in ("", DEFAULT):
            try:
                check_instance(host.instance)
            except Refused as wrong:
                raise Refused(f"{inventory.file}: hosts.{name}.{wrong.what}", wrong.details) from wrong
        _check_gateways(inventory, host)
        # Behind different gateways the same private address is another machine.
        where = (f"{host.gateway}>{host.address}", host.port)
        if where in seen:
            raise Refused(
                f"{inventory.file}: hosts.{name} and hosts.{seen[where]} have one address",
                f"{host.address}:{host.port}",
                hint="one machine is one host: remove one of them",
            )
        seen[where] = name
    for group, members in inventory.groups.items():
        if group in inventory.hosts or group == ALL:
            raise Refused(f"{inventory.file}: groups.{group}: the name is taken", "by a host, or by the group of all")
        for member in members:
            if member not in inventory.hosts:
                raise Refused(f"{inventory.file}: groups.{group}: no host {member!r}")


def _check_gateways(inventory: Inventory, host: Host) -> None:
    way = [host.name]
    while host.gateway in inventory.hosts:
        way.append(host.gateway)
        if host.gateway in way[:-1]:
            raise Refused(f"{inventory.file}: hosts.{way[0]}.gateway: a ring", " → ".join(way))
        host = inventory.hosts[host.gateway]


def of(c: Context, instance: str = "") -> Host:
    """The settings of the machine behind `c`: a connection carries its own, this machine has the defaults.

    Args:
        c: the machine.
        instance: what --instance says: another containerd of the machine than the inventory's.

    Raises:
        Refused: a name that no instance can have.
    """
    host = getattr(c, "host_entry", None)
    return on_instance(host if isinstance(host, Host) else load().defaults, instance)


def on_instance(host: Host, instance: str = "") -> Host:
    """`host` with the containerd that is meant, and with the names of that one's own pool.

    What the inventory says of a pool's place is about its own instance. Another one gets a pool of its own: only the
    sizes are taken over.

    Raises:
        Refused: a name that no instance can have.
    """
    own, asked = ("" if name == DEFAULT else name for name in (host.instance, instance))
    name = asked if instance else own
    if name:
        check_instance(name)
    stock = Pool()
    named = Pool(name=f"{name}-pool", dir=f"{Daemon(name).root}/devmapper", vg=f"containerd-{name}") if name else stock
    said = host.pool if name == own else stock
    place = {
        key: getattr(named if getattr(said, key) == getattr(stock, key) else said, key)
        for key in ("name", "dir", "vg", "pool", "devices", "volume", "volume_size")
    }
    return msgspec.structs.replace(host, instance=name, pool=msgspec.structs.replace(host.pool, **place))
