"""Read an Ansible inventory in YAML, as its plugin ansible.builtin.yaml does, without constructing any object.

The YAML is parsed into a graph of nodes, which is then visited. Each node knows its line, and an alias that expands to
millions of nodes costs nothing until it is visited. Visits are counted and limited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fabfile.errors import Refused
from fabfile.exchange.ansible import PLAIN, AnsibleInventory, Left, Value, only_ansible
from fabfile.selection import DEEPEST

if TYPE_CHECKING:
    from yaml import Node

MOST_VISITS = 500_000
"""Limit for visited keys, where those of an alias count each time; an inventory of 20,000 hosts has 100,000."""

TAG = "tag:yaml.org,2002:"

Pairs = dict[str, tuple["Node", "Node"]]


def read(text: str, file: str) -> AnsibleInventory:
    """Parse the text of an inventory.

    Args:
        text: content of the file.
        file: name of the file, for errors.

    Raises:
        Refused: it is not YAML, or not an inventory.
    """
    import yaml

    try:
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return Reader(AnsibleInventory(file)).inventory(root)
    except (yaml.YAMLError, ValueError) as error:
        raise Refused(f"{file} is not YAML", str(error)) from error
    except RecursionError as error:
        raise Refused(f"{file} is not YAML that can be read", "its tables or lists are nested too deeply") from error


class Reader:
    """The visitor of the nodes of one document."""

    def __init__(self, source: AnsibleInventory) -> None:
        self.source, self.visits = source, 0

    def inventory(self, root: Node | None) -> AnsibleInventory:
        """Visit the whole document, and return the inventory.

        Raises:
            Refused: it is not an inventory in YAML, or is too large.
        """
        groups = self._pairs(root, "the inventory") if root else {}
        if not groups:
            raise Refused(f"{self.source.file} has no groups", "it is empty")
        if "plugin" in groups and groups["plugin"][1].id == "scalar":
            raise only_ansible(self.source.file, "the configuration of a plugin")
        for name, (_, node) in groups.items():
            self._group(name, node, 0)
        return self.source

    def _group(self, name: str, node: Node, depth: int) -> None:
        if depth > DEEPEST:
            raise Refused(f"{self._where(node)}: more than {DEEPEST} groups are within each other")
        group = self.source.group(name)
        read: dict[str, Callable[[str, Node, Node], None]] = {
            "hosts": lambda key, at, value: self._hosts(name, key, at, value),
            "vars": lambda key, at, value: group.variables.update({key: self._value(value)}),
            "children": lambda key, at, value: self._child(name, key, value, depth),
        }
        for section, (at, inner) in self._pairs(node, f"the group {name}").items():
            if section not in read:
                self._leave(at, section, f"no part of the group {name}: those are hosts, vars and children")
                continue
            for key, (key_node, value) in self._pairs(inner, f"{section} of {name}").items():
                read[section](key, key_node, value)

    def _child(self, name: str, child: str, node: Node, depth: int) -> None:
        self.source.group(name).children[child] = None
        self._group(child, node, depth + 1)

    def _hosts(self, group: str, pattern: str, at: Node, node: Node) -> None:
        pairs = self._pairs(node, f"the host {pattern}")
        values = {key: self._value(value) for key, (_, value) in pairs.items()}
        for variables in self.source.add_hosts(group, pattern, _line(at)):
            self._count(node)
            variables.update(values)

    def _pairs(self, node: Node, what: str) -> Pairs:
        """Return the pairs of a mapping, first those merged into it by `<<`; a word counts as a key without a value.

        Args:
            node: the mapping, a word, or null, which has no pairs.
            what: what the node is, for errors.

        Raises:
            Refused: the node is something else, or a key is not a word.
        """
        if node.id == "scalar":
            return {} if node.tag == f"{TAG}null" else {node.value: (node, _nothing(node))}
        if node.id != "mapping":
            raise Refused(f"{self._where(node)}: {what} is not a table", f"it is a {node.id}")
        merged: Pairs = {}
        own: Pairs = {}
        for key, value in node.value:
            self._count(key)
            if key.tag == f"{TAG}merge":
                for each in reversed(value.value if value.id == "sequence" else [value]):
                    merged |= self._pairs(each, what)
            elif key.id != "scalar":
                raise Refused(f"{self._where(key)}: a key is not a word", f"in {what}")
            else:
                own[key.value] = (key, value)
        return merged | own

    def _value(self, node: Node) -> Value:
        if node.id != "scalar":
            return Value("", _line(node), PLAIN)
        if node.tag == "!vault":
            return Value("", _line(node), "encrypted by Ansible Vault")
        if node.tag == f"{TAG}null":
            return Value("", _line(node), "it has no value")
        return Value(node.value, _line(node))

    def _count(self, node: Node) -> None:
        self.visits += 1
        if self.visits > MOST_VISITS:
            raise Refused(
                f"{self._where(node)}: the inventory is too large", f"more than {MOST_VISITS} keys, by aliases"
            )

    def _leave(self, node: Node, name: str, why: str) -> None:
        self.source.left.append(Left(_line(node), name, why))

    def _where(self, node: Node) -> str:
        return f"{self.source.file}, line {_line(node)}"


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _nothing(node: Node) -> Node:
    from yaml import ScalarNode

    return ScalarNode(f"{TAG}null", "", node.start_mark, node.end_mark)
