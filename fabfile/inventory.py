"""hosts.toml → frozen `Host` objects; names and groups → hosts. Each error names the key that is wrong."""

from __future__ import annotations

import difflib
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fabfile import inventory_tables, paths, selection
from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.host import Host, Pool
from fabfile.instance import DEFAULT, Daemon, check_instance
from fabfile.option import options
from fabfile.selection import ALL, Chosen

if TYPE_CHECKING:
    from fabfile.remote.context import Context

FIXED = {"block_size": "loop", "chunk_size": "direct"}
"""Keys that one variant would ignore for the whole life of a pool → the variant that has them."""

MOST_PARALLEL = 1024
"""Limit for the threads of a run: each has a connection, and so a file descriptor."""

MOST_GATEWAYS = 16
"""Limit for the gateways on the way to a host: each is a login through the one before."""

LONG = 120
"""Characters of a key or of a message that are shown."""


class Inventory(msgspec.Struct, frozen=True):
    """The content of hosts.toml."""

    file: Path
    defaults: Host
    parallel: int
    hosts: dict[str, Host]
    groups: dict[str, list[str]]
    origins: dict[str, inventory_tables.Sources] = {}
    """Host → sources of its settings; for the controller, which has no name, those of `defaults`."""

    @property
    def chosen(self) -> Chosen:
        """The hosts and groups that can be selected."""
        return Chosen(self.file, self.defaults, self.hosts, self.groups)

    def resolve(self, names: list[str]) -> list[Host]:
        """Return the hosts that words select, each once, in the order given; see `selection`.

        Raises:
            Refused: a word selects no host, there are no words, or a group is empty.
        """
        found = selection.choose(self.chosen, names)
        if not found and not self.hosts:
            hint = selection.lines(self.file, selection.EXAMPLE)
            raise Refused(f"{self.file} has no hosts", "at least one is needed", hint=hint)
        if not found:
            requested = shown(",".join(names))
            raise Refused(f"no hosts match {requested}", f"{self.file} has {len(self.hosts)} hosts")
        return found


def load(file: Path | None = None) -> Inventory:
    """Read the inventory.

    Args:
        file: another file than hosts.toml or $HOSTS_FILE.

    Raises:
        Refused: the file is missing or not TOML; it has an unknown key, a wrong type or an
            invalid value; two hosts have the same address; or a group or gateway names no host.
    """
    file = file or paths.inventory()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read the inventory {file}", str(error), hint="HOSTS_FILE names another one") from error
    return parsed(text, file)


def parsed(text: str, file: Path) -> Inventory:
    """Parse an inventory.

    Args:
        text: content of `file`.
        file: path, for errors.

    Raises:
        Refused: see `load`.
    """
    import tomllib

    if text.startswith("\ufeff"):
        remove = f"LC_ALL=C sed -i '1s/^\\xef\\xbb\\xbf//' {shlex.quote(str(file))}"
        raise Refused(f"{file} is not TOML", "it begins with a byte order mark", hint=remove)
    try:
        raw = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError is one; a number of too many digits another
        raise Refused(f"{file} is not TOML", _cut(str(error)), hint=_dotted(text)) from error
    except RecursionError as error:
        raise Refused(f"{file} is not TOML that can be read", "its arrays or tables are nested too deeply") from error
    return _inventory(file, raw)


def _inventory(file: Path, raw: dict[str, Any]) -> Inventory:
    for section, content in raw.items():
        if section not in ("defaults", "hosts", "groups"):
            raise Refused(f"{file}: unknown section [{_cut(section)}]", "known: [defaults] [groups] [hosts.NAME]")
        if not isinstance(content, dict):
            raise Refused(f"{file}: {section}: Expected a table, got {type(content).__name__}")
    defaults = dict(raw.get("defaults", {}))
    parallel = _convert(file, "defaults.parallel", defaults.pop("parallel", 16), int)
    if not 1 <= parallel <= MOST_PARALLEL:
        raise Refused(f"{file}: defaults.parallel: {parallel} is not a number of threads", f"1 to {MOST_PARALLEL}")
    for key in ("name", "address"):
        if key in defaults:
            raise Refused(f"{file}: defaults.{key}: every host has its own", hint=f"move it to [hosts.NAME] {key}")
    stock = _convert(file, "defaults", defaults, Host)  # first: a mistake in the defaults is not each host's
    _check_values(file, "defaults", defaults)
    of_hosts, sources = inventory_tables.of_hosts(raw.get("hosts", {}), f"{file}: hosts")
    if isinstance(gateway := of_hosts.get(stock.gateway), dict):
        of_hosts[stock.gateway] = {"gateway": "", **gateway}  # that of the defaults is for all hosts but itself
        sources[stock.gateway] = {"gateway": inventory_tables.BUILT_IN, **sources[stock.gateway]}
    hosts = {name: _host(file, name, defaults, own) for name, own in of_hosts.items()}
    groups = {
        name: _convert(file, f"groups.{_cut(name)}", members, list[str])
        for name, members in raw.get("groups", {}).items()
    }
    common = inventory_tables.sources(defaults, "defaults")
    origins = {"": common, **{name: {**common, **sources[name]} for name in of_hosts}}
    inventory = Inventory(file, stock, parallel, hosts, groups, origins)
    _check(inventory)
    return inventory


def _host(file: Path, name: str, defaults: dict[str, Any], own: Any) -> Host:
    key = f"hosts.{_cut(name)}"
    if not isinstance(own, dict):
        raise Refused(f"{file}: {key}: Expected a table, got {type(own).__name__}", hint=f"write [{key}]")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", name):
        raise Refused(f"{file}: {key}: not a usable host name", "letters, digits, dot, hyphen, underscore, at most 253")
    if name == ALL:
        raise Refused(f"{file}: {key}: the name is taken", f"the group {ALL} always means all")
    if not isinstance(own.get("pool", {}), dict):
        raise Refused(f"{file}: {key}.pool: Expected a table", hint=f"write [{key}.pool]")
    # pool is a table of its own: a host changes single keys of it
    pool = {**defaults.get("pool", {}), **own.get("pool", {})}
    merged = {"address": name, **defaults, **own, "name": name, "pool": pool}
    host: Host = _convert(file, key, merged, Host)
    for name, variant in FIXED.items():
        if name in own.get("pool", {}) and host.pool.variant != variant:
            raise Refused(f"{file}: {key}.pool.{name}: only a {variant} pool has that", hint=f"remove {name}")
    _check_values(file, key, {"address": name, **own})
    return host


def _check_values(file: Path, key: str, table: dict[str, Any]) -> None:
    """Refuse texts that their declarations refuse; types and ranges are right by now."""
    for kind, values, where in ((Host, table, key), (Pool, table.get("pool", {}), f"{key}.pool")):
        for name, option in options(kind).items():
            texts = values.get(name, ())
            for text in [texts] if isinstance(texts, str) else texts if isinstance(texts, list) else []:
                label = f"{file}: {where}.{name}"
                option.refuse_text(text, label)
                if option.check and (text or name in ("address", "labels")):
                    option.check(text, label)


def _cut(text: str) -> str:
    """Shorten a key or a message so that it fits on a line."""
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"


def _dotted(text: str) -> str:
    """Return how to write a host name with dots, if a missing pair of quotes may be the mistake."""
    found = re.search(r"^\s*\[hosts\.([0-9]+(?:\.[0-9]+){3})\]", text, re.MULTILINE)
    return f'a name with dots is written in quotes: [hosts."{found[1]}"]' if found else ""


def _convert(file: Path, key: str, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        name = where.strip("`").removeprefix("$")
        option = (options(Host) | options(Pool)).get(name.rpartition(".")[2])
        limits = option.limits if option else ""
        hint = _quote(key, value)
        if name == ".pool" and message == "Object contains unknown field `pool`":
            hint = "this key is now called lv: write lv in its place"
        elif not hint and (wrong := re.fullmatch(r"Object contains unknown field `(.*)`", message)):
            near = difflib.get_close_matches(wrong[1], options(Pool if name == ".pool" else Host), n=1)
            hint = f"did you mean {near[0]}?" if near else ""
        raise Refused(f"{file}: {key}{name}: {_cut(message)}", limits, hint=hint) from error


def _quote(key: str, value: Any) -> str:
    """Return how to write a host name with dots, if the key seems to be one: TOML reads it as nested tables."""
    tables = [name for name, inner in value.items() if isinstance(inner, dict)] if isinstance(value, dict) else []
    dotted = key.startswith("hosts.") and set(tables) - {"pool"}
    return 'a name with dots is written in quotes: [hosts."192.0.2.1"]' if dotted else ""


def _check(inventory: Inventory) -> None:
    seen: dict[selection.Place, str] = {}
    _check_gateway(inventory, inventory.defaults, "defaults")
    for name, host in inventory.hosts.items():
        _check_gateway(inventory, host, f"hosts.{name}")
        if host.instance not in ("", DEFAULT):
            try:
                check_instance(host.instance)
            except Refused as wrong:
                raise Refused(f"{inventory.file}: hosts.{name}.{wrong.what}", wrong.details) from wrong
        where = selection.place(host)
        if where in seen:
            raise Refused(
                f"{inventory.file}: hosts.{name} and hosts.{seen[where]} have the same address",
                f"{host.address}:{host.port}",
                hint="list each machine once: remove one of them",
            )
        seen[where] = name
    _check_gateways(inventory)
    selection.check_groups(inventory.chosen, "by a host, or by the group of all")


def _check_gateway(inventory: Inventory, host: Host, table: str) -> None:
    where = f"{inventory.file}: {table}.gateway"
    if host.gateway and host.gateway == host.name:
        raise Refused(f"{where}: the host itself", hint="name another host, or remove the line")
    if host.gateway and host.gateway not in inventory.hosts:
        raise selection.unknown(inventory.chosen, host.gateway, where, groups=False)


def _check_gateways(inventory: Inventory) -> None:
    gateways: dict[str, int] = {}
    """Host → how many gateways lead there: each is counted once."""
    for first in inventory.hosts:
        way: dict[str, None] = {}
        name = first
        while name and name not in gateways:
            way[name] = None
            name = inventory.hosts[name].gateway
            if name in way:
                hint = f'write gateway = "" in [hosts.{inventory_tables.quoted(name)}], if nothing is in front of it'
                ring = _cut(" → ".join([*way, name]))
                raise Refused(f"{inventory.file}: hosts.{first}.gateway: a cycle", ring, hint=hint)
        count = gateways[name] + 1 if name else 0
        for behind in reversed(way):
            gateways[behind] = count
            count += 1
        if gateways[first] > MOST_GATEWAYS:
            what = f"{inventory.file}: hosts.{first}.gateway: {gateways[first]} gateways lead there"
            raise Refused(what, f"at most {MOST_GATEWAYS}")


def of(c: Context, instance: str = "", **given: Any) -> Host:
    """Return the settings of the host behind `c`: a connection has its own, the controller (inv) has the defaults.

    Args:
        c: the machine.
        instance: value of --instance, which selects another containerd than the inventory does.
        given: values of other options, by their names in `Host`.

    Raises:
        Refused: the name of the instance is invalid.
    """
    host = getattr(c, "host_entry", None)
    host = on_instance(host if isinstance(host, Host) else load().defaults, instance)
    return msgspec.structs.replace(host, **given)


def on_instance(host: Host, instance: str = "") -> Host:
    """Return `host` with the selected containerd instance, and with the names of that instance's own pool.

    Where the inventory places a pool applies only to the inventory's own instance. Another instance gets a pool of its
    own, with the same settings except for names, directory, volume group, disks and volume.

    Raises:
        Refused: the name of the instance is invalid.
    """
    own, requested = ("" if name == DEFAULT else name for name in (host.instance, instance))
    name = requested if instance else own
    if name:
        check_instance(name)
    stock = Pool()
    named = Pool(name=f"{name}-pool", dir=f"{Daemon(name).root}/devmapper", vg=f"containerd-{name}") if name else stock
    pool = host.pool if name == own else stock
    place = {
        key: getattr(named if getattr(pool, key) == getattr(stock, key) else pool, key)
        for key in ("name", "dir", "vg", "lv", "devices", "volume", "volume_size")
    }
    return msgspec.structs.replace(host, instance=name, pool=msgspec.structs.replace(host.pool, **place))
