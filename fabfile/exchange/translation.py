"""Translate Ansible's hosts, groups and variables to those of hosts.toml, and list what hosts.toml cannot represent."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import msgspec

from fabfile import selection
from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.exchange import ssh_options
from fabfile.exchange.ansible import ALL, PRIORITY, UNGROUPED, AnsibleInventory, Left, Value, Variables
from fabfile.exchange.ssh_options import Hop
from fabfile.host import Host
from fabfile.option import options

KEYS = {
    "ansible_host": "address", "ansible_ssh_host": "address",
    "ansible_port": "port", "ansible_ssh_port": "port",
    "ansible_user": "user", "ansible_ssh_user": "user",
    "ansible_private_key_file": "identity_file", "ansible_ssh_private_key_file": "identity_file",
    "ansible_ssh_timeout": "connect_timeout",
}  # fmt: skip
"""Variables → keys of hosts.toml. If two variables for the same key are set, Ansible uses the one listed later."""

ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")
"""Variables that contain options of ssh."""

CONNECTION = "ansible_connection"
SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh")

WHY = {
    r"ansible_.*(pass|password|passphrase|private_key)": "a secret; keys come from a file or an agent",
    r"ansible_become.*": "tasks run as root, by sudo for other users; for its password: --prompt-for-sudo-password",
    r"ansible_.*python.*": "hosts need no Python",
    r"ansible_.*": "hosts.toml has no such setting",
    r".*": "a variable of playbooks",
}
"""Pattern for the name of a variable → why hosts.toml has no place for it; the first pattern that matches counts."""

Way = tuple[Hop, ...]
Place = tuple[str, int]
"""Address and port: a jump host may be given by Ansible's name for it, or by its address."""

TEMPLATE = re.compile(r"\{\{|\{%")


class Tables(msgspec.Struct):
    """The tables of the new hosts.toml, and what they cannot represent."""

    defaults: dict[str, Any] = {}
    groups: dict[str, list[str]] = {}
    hosts: dict[str, dict[str, Any]] = {}
    left: list[Left] = []


def translated(source: AnsibleInventory) -> Tables:
    """Translate an Ansible inventory to the tables of a hosts.toml.

    Raises:
        Refused: a setting has an impossible value; the error names its line.
    """
    return Translation(source).tables()


class Translation:
    """The translation of one inventory, with its state."""

    def __init__(self, source: AnsibleInventory) -> None:
        self.source, self.to = source, Tables(left=list(source.left))
        self.names: dict[str, str] = {}
        """Ansible's name of a host → ours; two names of one machine become one."""
        self.ways: dict[str, Way] = {}
        """Our name of a host → the jump hosts on the way to it."""
        self.places: dict[str, Place] = {}
        """Ansible's name of a host → its address and port."""
        self.machines: dict[tuple[Place, ...], str] = {}
        """Places of the jump hosts and of the host itself → our name: a machine becomes a single host in hosts.toml."""

    def tables(self) -> Tables:
        """See `translated`."""
        for name, value in self.source.variables():
            if why := self._why(name, value):
                self._leave(value.line, name, why)
        self.to.defaults = self._settings(self.source.group(ALL).variables)
        self.to.defaults.pop("address", None)
        effective = {
            name: variables for name, variables in self.source.effective().items() if self._by_ssh(name, variables)
        }
        settings = {name: self._of_host(name, variables) for name, variables in effective.items()}
        self.places = {name: (own["address"], own.get("port", self.port)) for name, own in settings.items()}
        for name, variables in effective.items():
            self._add_host(name, _options(variables).hops, settings[name])
        for name, way in list(self.ways.items()):
            if way:
                self.to.hosts[name]["gateway"] = self._gateway(way)
        self._add_groups()
        if self.to.hosts and not any("user" in table for table in (self.to.defaults, *self.to.hosts.values())):
            why = "set nowhere: Ansible logs in as you, but hosts.toml as root unless ~/.ssh/config says otherwise"
            self._leave(0, "ansible_user", why)
        self.to.left = sorted(set(self.to.left))
        return self.to

    def _leave(self, line: int, name: str, why: str) -> None:
        self.to.left.append(Left(line, name, why))

    def _why(self, name: str, value: Value) -> str:
        """Return why hosts.toml has no place for a variable; empty: it has one."""
        if name in ARGUMENTS and not _unusable(value):
            try:
                left = ssh_options.read(value.text).left
            except ValueError as error:
                return str(error)
            return f"{', '.join(dict.fromkeys(left))}: hosts.toml has no such setting" if left else ""
        if name in (*KEYS, *ARGUMENTS):
            return _unusable(value)
        if name in (PRIORITY, CONNECTION):
            return value.why
        return value.why or next(why for pattern, why in WHY.items() if re.fullmatch(pattern, name, re.DOTALL))

    def _settings(self, variables: Variables) -> dict[str, Any]:
        """Return the settings of hosts.toml that the variables stand for.

        Raises:
            Refused: a value is impossible.
        """
        found: dict[str, Any] = {}
        for name, key in KEYS.items():
            value = variables.get(name)
            if value and not _unusable(value):
                found[key] = _checked(key, value.text, f"{self.source.file}, line {value.line}: {name}")
        if known := _options(variables).known_hosts:
            found["known_hosts"] = known
        return found

    def _by_ssh(self, name: str, variables: Variables) -> bool:
        said = variables.get(CONNECTION)
        if said and said.text not in SSH:
            self._leave(said.line, name, f"left out: its connection is {shown(said.text)}, not SSH")
        return not said or said.text in SSH

    def _of_host(self, name: str, variables: Variables) -> dict[str, Any]:
        """Return the settings of a host; see `_settings`."""
        # A setting in [defaults] that does not apply to this host in Ansible gets our built-in default for it.
        settings = {key: options(Host)[key].default for key in self.to.defaults} | self._settings(variables)
        if not settings.get("address"):
            settings["address"] = _checked("address", name, f"{self.source.file}: the host {shown(name)}")
        return settings

    def _add_host(self, name: str, way: Way, settings: dict[str, Any]) -> None:
        """Add a host, unless it has the address and jump hosts of an earlier one: then it is the same machine."""
        address, port = place = self.places[name]
        if any(hop.host in (name, address) and int(hop.port or port) == port for hop in way):
            self._leave(0, name, "its own jump host: it has no gateway")
            way = ()
        if same := self.machines.get((*map(self._place, way), place)):
            self.names[name] = same
            self._leave(0, name, f"the same machine as {same}, by its address: its groups get that one")
            return
        self.names[name] = self._new(name, place, way, settings)

    def _place(self, hop: Hop) -> Place:
        """Return the place of a jump host, which may be a host of the inventory."""
        address, port = self.places.get(hop.host, (hop.host, 22))
        return address, int(hop.port or port)

    def _new(self, name: str, place: Place, way: Way, settings: dict[str, Any]) -> str:
        """Add a new host, and return our name for it."""
        ours = self._name(name)
        defaults = self.to.defaults
        differing = {key: value for key, value in settings.items() if key not in defaults or defaults[key] != value}
        differing.pop("address", None)
        self.to.hosts[ours] = {**({"address": place[0]} if place[0] != ours else {}), **differing}
        self.ways[ours], self.machines[*map(self._place, way), place] = way, ours
        return ours

    @property
    def port(self) -> int:
        """The port of hosts that do not set one."""
        return int(self.to.defaults.get("port", 22))

    def _name(self, name: str) -> str:
        """Return a name that is valid and not yet used in hosts.toml; the given one if possible."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:240] or "host"
        ours, number = plain, 1
        while ours == selection.ALL or ours in self.to.hosts or ours in self.to.groups:
            number += 1
            ours = f"{plain}-{number}"
        if ours != name:
            self._leave(0, name, f"called {ours}")
        return ours

    def _gateway(self, way: Way) -> str:
        """Return our name for the last jump host on a way; jump hosts that are not hosts yet are added."""
        first, hop = way[:-1], way[-1]
        place = self._place(hop)
        ours = self.machines.get((*map(self._place, first), place))
        if not ours:
            settings = {"port": place[1]} if place[1] != self.port else {}
            ours = self._new(hop.host, place, first, settings | ({"user": hop.user} if hop.user else {}))
            self._leave(0, ours, "added, as a jump host of others: the group of all hosts has it, too")
            if first:
                self.to.hosts[ours]["gateway"] = self._gateway(first)
        user = self.to.hosts[ours].get("user", self.to.defaults.get("user", ""))
        if hop.user and not user:
            self.to.hosts[ours]["user"] = hop.user
        elif hop.user and hop.user != user:
            self._leave(0, str(hop), f"hosts.toml has one user for {ours}: {user}")
        return ours

    def _add_groups(self) -> None:
        groups = {name: group for name, group in self.source.groups.items() if name not in (ALL, UNGROUPED)}
        called: dict[str, str] = {}
        for name in groups:
            called[name] = self._name(name)
            self.to.groups[called[name]] = []
        for name, group in groups.items():
            hosts = [*group.hosts, *(self.source.group(UNGROUPED).hosts if UNGROUPED in group.children else ())]
            members = dict.fromkeys(self.names[host] for host in hosts if host in self.names)
            self.to.groups[called[name]] = [*(called[child] for child in group.children if child in called), *members]


def _unusable(value: Value) -> str:
    return value.why or ("a template" if TEMPLATE.search(value.text) else "")


def _checked(key: str, text: str, where: str) -> Any:
    option = options(Host)[key]
    option.refuse_text(text, where)
    if option.kind is int:
        number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1
        if not (option.least or 0) <= number <= (option.most or number):
            raise Refused(f"{where}: {shown(text)} is not possible", option.limits)
        return number
    if option.check and (text or key != "identity_file"):
        option.check(text, where)
    return text


def _options(variables: Variables) -> ssh_options.Options:
    """Parse the options of ssh in variables; options that cannot be parsed are listed by `Translation._why`."""
    values = [variables[name] for name in ARGUMENTS if name in variables]
    with suppress(ValueError):
        return ssh_options.read(" ".join(each.text for each in values if not _unusable(each)))
    return ssh_options.Options()
