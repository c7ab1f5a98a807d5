"""An Ansible inventory as data: groups, hosts, and variables with their lines; and which variables each host gets."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterator

import msgspec

from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.ranges import MOST
from fabfile.selection import DEEPEST

PRIORITY = "ansible_group_priority"
"""The only variable that applies to its group instead of hosts."""

ALL, UNGROUPED = "all", "ungrouped"
"""Groups that Ansible creates itself: all hosts, and the hosts that are in no other group."""

PLAIN = "not a plain value"

WITH_PORT = re.compile(r"\[(.+)\]:([0-9]{1,5})|((?:[^:\[\]]|\[[^\]]*\])*):([0-9]{1,5})")
"""A host with its port, as Ansible's parse_address accepts it."""


class Value(msgspec.Struct, frozen=True):
    """The value of a variable."""

    text: str
    line: int
    why: str = ""
    """Why the value cannot be used; empty: it can."""


Variables = dict[str, Value]


class Left(msgspec.Struct, frozen=True, order=True):
    """Something that cannot be represented in hosts.toml."""

    line: int
    """Line in the inventory that was read; 0: it is not about a single line."""
    name: str
    """Name of the variable, host, group or file; the value of a variable may be a secret, so it is not repeated."""
    why: str


class Group(msgspec.Struct):
    """A group: the names of its hosts and child groups, and its variables."""

    hosts: dict[str, None] = {}
    children: dict[str, None] = {}
    variables: Variables = {}


class AnsibleInventory(msgspec.Struct):
    """An Ansible inventory."""

    file: str
    groups: dict[str, Group] = {}
    hosts: dict[str, Variables] = {}
    left: list[Left] = []

    def group(self, name: str) -> Group:
        """Return the group of that name; it is created if it does not exist."""
        return self.groups.setdefault(name, Group())

    def add_hosts(self, group: str, pattern: str, line: int) -> list[Variables]:
        """Add the hosts of a pattern to a group.

        Args:
            group: name of the group.
            pattern: a host or range, such as `www[01:50].example.com:2222`.
            line: line of the pattern in the file.

        Returns:
            The variables of each host, as tables that can be updated.

        Raises:
            Refused: the pattern is invalid, or there are too many hosts.
        """
        where = f"{self.file}, line {line}"
        found = WITH_PORT.fullmatch(pattern)
        names, port = (found[1] or found[3], found[2] or found[4]) if found else (pattern, "")
        hosts = []
        for name in expand(names, where):
            self.group(group).hosts[name] = None
            # As in Ansible, a port is used only where the host is named for the first time.
            hosts.append(self.hosts.setdefault(name, {"ansible_port": Value(port, line)} if port else {}))
            if len(self.hosts) > MOST:
                raise Refused(f"{where}: too many hosts", f"at most {MOST}")
        return hosts

    def variables(self) -> Iterator[tuple[str, Value]]:
        """Yield every variable as it is in the file; one that is set for a range of hosts comes once."""
        tables = [group.variables for group in self.groups.values()] + list(self.hosts.values())
        yield from dict.fromkeys((name, value) for table in tables for name, value in table.items())

    def depths(self) -> dict[str, int]:
        """Return the depth of each group: the length of the longest path from `all` to it.

        Raises:
            Refused: a group contains itself, or is nested too deeply.
        """
        found: dict[str, int] = dict.fromkeys(self.groups, 1) | {ALL: 0}
        todo = [name for name in self.groups if name != ALL]
        while todo:
            name = todo.pop()
            if found[name] > DEEPEST:
                raise Refused(
                    f"{self.file}: the group {shown(name)} is within itself, or too deep",
                    f"at most {DEEPEST} groups may be within each other",
                )
            for child in self.groups[name].children:
                if found[child] <= found[name]:
                    found[child] = found[name] + 1
                    todo.append(child)
        return found

    def effective(self) -> dict[str, Variables]:
        """Return the variables that each host gets: child groups override their parents, and the host overrides all."""
        depths = self.depths()
        parents: dict[str, list[str]] = {name: [] for name in self.groups}
        for name, group in self.groups.items():
            for child in group.children:
                parents[child].append(name)
        above: dict[str, set[str]] = {}
        for name in sorted(self.groups, key=depths.__getitem__):
            above[name] = {name}.union(*(above[parent] for parent in parents[name]))
        memberships: dict[str, set[str]] = {host: {ALL} for host in self.hosts}
        for name, group in self.groups.items():
            for host in group.hosts:
                memberships[host] |= above[name]
        order = {name: (depths[name], self._priority(name), name) for name in self.groups}
        return {
            host: self._merged(sorted(memberships[host] & order.keys(), key=order.__getitem__), host)
            for host in self.hosts
        }

    def _priority(self, name: str) -> int:
        said = self.groups[name].variables.get(PRIORITY)
        return int(said.text) if said and re.fullmatch(r"-?[0-9]{1,9}", said.text) else 1

    def _merged(self, groups: list[str], host: str) -> Variables:
        merged: Variables = {}
        for name in groups:
            merged |= self.groups[name].variables
        merged.pop(PRIORITY, None)
        return merged | self.hosts[host]


def expand(pattern: str, where: str) -> list[str]:
    """Expand a pattern of Ansible into names; it may have several ranges such as `[01:50]`, `[a:f]` or `[1:9:2]`.

    Args:
        pattern: a name, with or without ranges.
        where: prefix of an error, such as the file and line.

    Raises:
        Refused: the pattern is invalid, or has too many names.
    """
    names = [""]
    for text, begin, end, step in re.findall(r"([^\[\]]+)|\[(\w*):(\w+)(?::([0-9]{1,9}))?\]", pattern):
        values = [text] if text else _values(begin or "0", end, int(step or 1))
        if not values or len(names) * len(values) > MOST:
            raise Refused(f"{where}: {shown(pattern)} has no names, or too many", f"at most {MOST}")
        names = [f"{name}{value}" for name in names for value in values]
    if not pattern or re.search(r"[\[\]]", re.sub(r"\[\w*:\w+(?::[0-9]{1,9})?\]", "", pattern)):
        raise Refused(f"{where}: {shown(pattern)} is not a host or a range of hosts", "such as www[01:50].example.com")
    return names


def _values(begin: str, end: str, step: int) -> list[str]:
    """Return the values of a range; empty: it is invalid, or has too many values."""
    letters = string.ascii_letters
    if begin.isascii() and end.isascii() and begin.isdigit() and end.isdigit() and step and len(begin + end) < 30:
        width = len(begin) if begin.startswith("0") else 0
        numbers = range(int(begin), int(end) + 1, step)
        return [str(number).zfill(width) for number in numbers] if len(numbers) <= MOST else []
    if len(begin) == len(end) == 1 and begin in letters and end in letters and step:
        return list(letters[letters.index(begin) : letters.index(end) + 1 : step])
    return []


def only_ansible(file: str, what: str) -> Refused:
    """Return the refusal of an inventory that only Ansible can read; its hint is to have Ansible convert it to YAML.

    Args:
        file: path of the inventory.
        what: what it is, for the message.
    """
    command = f"ansible-inventory -i {shlex.quote(file)} --list --yaml --output all.yml"
    return Refused(
        f"{file} is {what}, and not an inventory in INI notation or YAML",
        "only Ansible itself can read that, and print it as one inventory in YAML",
        hint=f"{command}, then inv inventory.import --file all.yml",
    )
