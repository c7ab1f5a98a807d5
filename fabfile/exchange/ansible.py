"""What an inventory of Ansible says: groups, hosts and variables, each variable with its line; and what a host gets."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterator

import msgspec

from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.selection import DEEPEST, MOST

PRIORITY = "ansible_group_priority"
"""The one variable that is about its group, not about hosts."""

ALL, UNGROUPED = "all", "ungrouped"
"""Groups that Ansible makes itself: every host, and those that no other group has."""

PLAIN = "not a plain value"

WITH_PORT = re.compile(r"\[(.+)\]:([0-9]{1,5})|((?:[^:\[\]]|\[[^\]]*\])*):([0-9]{1,5})")
"""A host with its port, as Ansible's parse_address takes it."""


class Value(msgspec.Struct, frozen=True):
    """What a variable is set to."""

    text: str
    line: int
    why: str = ""
    """Why it cannot be used, if so."""


Variables = dict[str, Value]


class Left(msgspec.Struct, frozen=True, order=True):
    """Something that hosts.toml has no place for."""

    line: int
    """In the inventory that was read; 0: in none."""
    name: str
    """Of the variable, host, group or file; its value may be a secret."""
    why: str


class Group(msgspec.Struct):
    """A group, by the names of its members."""

    hosts: dict[str, None] = {}
    children: dict[str, None] = {}
    variables: Variables = {}


class Source(msgspec.Struct):
    """An inventory of Ansible."""

    file: str
    groups: dict[str, Group] = {}
    hosts: dict[str, Variables] = {}
    left: list[Left] = []

    def group(self, name: str) -> Group:
        """The group of that name, made if it is new."""
        return self.groups.setdefault(name, Group())

    def add_hosts(self, group: str, pattern: str, line: int) -> list[Variables]:
        """Put the hosts of a pattern in a group.

        Args:
            group: its name.
            pattern: `www[01:50].example.com:2222`.
            line: where it stands.

        Returns:
            The variables of each host.

        Raises:
            Refused: it is no pattern, or there are too many hosts.
        """
        where = f"{self.file}, line {line}"
        found = WITH_PORT.fullmatch(pattern)
        names, port = (found[1] or found[3], found[2] or found[4]) if found else (pattern, "")
        hosts = []
        for name in expand(names, where):
            self.group(group).hosts[name] = None
            # As in Ansible, a port counts only where a host is named for the first time.
            hosts.append(self.hosts.setdefault(name, {"ansible_port": Value(port, line)} if port else {}))
            if len(self.hosts) > MOST:
                raise Refused(f"{where}: too many hosts", f"at most {MOST}")
        return hosts

    def variables(self) -> Iterator[tuple[str, Value]]:
        """Every variable as it is written; one of a range of hosts once."""
        tables = [group.variables for group in self.groups.values()] + list(self.hosts.values())
        yield from dict.fromkeys((name, value) for table in tables for name, value in table.items())

    def depths(self) -> dict[str, int]:
        """How far each group is from `all`, by the longest way.

        Raises:
            Refused: a group is within itself, or too deep.
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
        """The variables that each host gets: a group within another one overrides it, and the host overrides all."""
        depths = self.depths()
        parents: dict[str, list[str]] = {name: [] for name in self.groups}
        for name, group in self.groups.items():
            for child in group.children:
                parents[child].append(name)
        above: dict[str, set[str]] = {}
        for name in sorted(self.groups, key=depths.__getitem__):
            above[name] = {name}.union(*(above[parent] for parent in parents[name]))
        of: dict[str, set[str]] = {host: {ALL} for host in self.hosts}
        for name, group in self.groups.items():
            for host in group.hosts:
                of[host] |= above[name]
        order = {name: (depths[name], self._priority(name), name) for name in self.groups}
        return {host: self._merged(sorted(of[host] & order.keys(), key=order.__getitem__), host) for host in self.hosts}

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
    """The names that a pattern of Ansible stands for: `[01:50]`, `[a:f]`, `[1:9:2]`, several of them too.

    Args:
        pattern: a name, with or without ranges.
        where: what is said in front of an error.

    Raises:
        Refused: it is no pattern, or has too many names.
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
    """What stands for a range; nothing if it is none, or has too many."""
    letters = string.ascii_letters
    if begin.isascii() and end.isascii() and begin.isdigit() and end.isdigit() and step and len(begin + end) < 30:
        width = len(begin) if begin.startswith("0") else 0
        numbers = range(int(begin), int(end) + 1, step)
        return [str(number).zfill(width) for number in numbers] if len(numbers) <= MOST else []
    if len(begin) == len(end) == 1 and begin in letters and end in letters and step:
        return list(letters[letters.index(begin) : letters.index(end) + 1 : step])
    return []


def only_ansible(file: str, what: str) -> Refused:
    """The refusal of what Ansible itself must read: it can print what it has read."""
    command = f"ansible-inventory -i {shlex.quote(file)} --list --yaml --output all.yml"
    return Refused(
        f"{file} is {what}, and not an inventory in INI notation or YAML",
        "only Ansible itself can read that, and print it as one inventory in YAML",
        hint=f"{command}, then inv inventory.import --file all.yml",
    )
