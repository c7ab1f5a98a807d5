"""Select hosts by the words of -H, --limit, --exclude and groups: names, globs, ranges, labels, `user@host:port`.

A word that stands for nothing is refused with the nearest name, because it is a mistake.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import msgspec

from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.host import Host, check_address, check_user
from fabfile.ranges import expand, is_range, words

ALL = "hosts"
"""Name of the group that always has every host."""

DEEPEST = 50
"""Limit for the depth of nested groups."""

EXAMPLE = "192.0.2.1"

PLAIN = re.compile(
    r"(?:(?P<user>[^@]+)@)?(?P<host>\[[0-9A-Fa-f:.]+(?:%[^\]]+)?\]|[^@:\[\]]+)(?::(?P<port>[0-9]{1,5}))?"
)


Place = tuple[str, str, int]


class Chosen(NamedTuple):
    """What hosts are chosen from: the hosts and groups of the inventory."""

    file: Path
    defaults: Host
    hosts: Mapping[str, Host]
    groups: Mapping[str, list[str]]

    def machine(self, host: Host) -> Place:
        """Return the place of a host in the inventory, or else its own: `web1` and `root@web1:2222` have the same."""
        return place(self.hosts.get(listed(self.hosts, host.name), host))


def place(host: Host) -> Place:
    """Return gateway, address and port: behind different gateways, the same private address is another machine."""
    return host.gateway, host.address, host.port


def listed(hosts: Container[str], name: str) -> str:
    """Return the name in the inventory of a host that was selected, possibly as `user@host:port`; empty: there is none.

    Args:
        hosts: names in the inventory.
        name: name of the selected host.
    """
    if name in hosts:
        return name
    parts = PLAIN.fullmatch(name)
    return parts["host"] if parts and parts["host"] in hosts else ""


def typed(hosts: Container[str], name: str) -> set[str]:
    """Return the keys that the name of a selected host sets, if it is `user@host:port`; see `listed`."""
    own, parts = listed(hosts, name), PLAIN.fullmatch(name)
    if own == name or not parts:
        return set()
    return {*([] if own else ["address"]), *(key for key in ("user", "port") if parts[key])}


def narrowed(known: Chosen, hosts: Iterable[Host], limit: str, exclude: str) -> list[Host]:
    """Return the hosts that `limit` selects, without those that `exclude` selects.

    Args:
        known: what hosts are chosen from.
        hosts: hosts that were chosen with -H.
        limit: words, separated by commas; empty: all hosts.
        exclude: words, separated by commas; empty: none.

    Raises:
        Refused: a word stands for nothing, or no host is left.
    """
    hosts = list(hosts)
    out, only = (_machines(known, hosts, *each) for each in ((exclude, "--exclude"), (limit, "--limit")))
    left = [host for host in hosts if known.machine(host) not in out and (not limit or known.machine(host) in only)]
    if not left:
        raise Refused("no host is left", f"of {len(hosts)}, after --limit {limit or '*'} and --exclude {exclude}")
    return left


def _machines(known: Chosen, hosts: Sequence[Host], text: str, where: str) -> set[Place]:
    """Return the machines that the words of --limit or --exclude stand for; for the arguments see `narrowed`.

    Raises:
        Refused: a word stands for nothing, or for a machine that is neither selected nor in the inventory.
    """
    there = known._replace(hosts={**known.hosts, **{host.name: host for host in hosts}})
    machines = {known.machine(host) for host in there.hosts.values()}
    found = choose(there, words(text), where)
    for host in found:
        if known.machine(host) not in machines:
            hint = f"remove it from {where}, or select it with -H"
            raise Refused(f"{where}: {shown(host.name)} is not one of the hosts", _listed(there.hosts), hint=hint)
    return {known.machine(host) for host in found}


def choose(known: Chosen, asked: Iterable[str], where: str = "-H") -> list[Host]:
    """Return the hosts that words stand for, in their order; those of a pattern in the order of the file.

    Each is returned once, even if it has two names, such as `web1` and `root@web1`.

    Args:
        known: what hosts are chosen from.
        asked: the words.
        where: prefix of an error, such as the option.

    Raises:
        Refused: a word stands for nothing.
    """
    found: dict[Place, Host] = {}
    groups: set[str] = set()
    for word in filter(None, map(str.strip, asked)):
        for host in _hosts(known, word, where, groups):
            other = found.setdefault(place(host), host)
            if listed(known.hosts, host.name) and not listed(known.hosts, other.name):
                found[place(host)] = host  # which has settings of its own
    return list(found.values())


def _hosts(known: Chosen, word: str, where: str, groups: set[str], depth: int = 0) -> Iterator[Host]:
    """Yield the hosts that a word stands for.

    Args:
        known: what hosts are chosen from.
        word: the word.
        where: prefix of an error, such as the option.
        groups: groups that were visited; they are added to it, and skipped the next time.
        depth: number of groups that the word is within; 0: it was typed.
    """
    if word in known.hosts:
        yield known.hosts[word]
    elif word == ALL:
        yield from known.hosts.values()
    elif word in known.groups:
        if depth > DEEPEST:
            raise Refused(f"{known.file}: groups.{word}: more than {DEEPEST} groups are within each other")
        for member in known.groups[word] if word not in groups else ():
            groups.add(word)
            yield from _hosts(known, member, f"{known.file}: groups.{word}", groups, depth + 1)
    elif is_range(word):
        for name in expand(word, where):
            yield from _hosts(known, name, where, groups, depth)
    elif word.startswith("@"):
        yield from _some((h for h in known.hosts.values() if _any(h.labels, word[1:])), known, word, "label")
    elif re.search(r"[*?]", word):
        yield from _some((h for h in known.hosts.values() if fnmatchcase(h.name, word)), known, word, "name")
    elif not depth and (plain := _plain(known, word)):
        yield plain
    else:
        raise unknown(known, word, where)


def check_groups(known: Chosen, taken: str) -> None:
    """Check the groups of an inventory.

    Args:
        known: its hosts and groups.
        taken: details of the error for a group with a name that is already taken.

    Raises:
        Refused: the name of a group is taken, a member does not exist, or a group contains itself.
    """
    for group, members in known.groups.items():
        said = f"{known.file}: groups.{group[:120]}"
        if group in known.hosts or group == ALL:
            raise Refused(f"{said}: the name is taken", taken)
        for member in (name for word in members for name in expand(word, said)):
            if not (member == ALL or member in known.hosts or member in known.groups or re.search(r"^@|[*?]", member)):
                raise Refused(f"{said}: no host {shown(member)}")
    done: set[str] = set()
    for group in known.groups:
        way = [group]
        while way and way[-1] not in done:
            inner = next((m for m in known.groups[way[-1]] if m in known.groups and m not in done), None)
            if inner in way:
                raise Refused(f"{known.file}: groups.{inner}: a cycle", " → ".join([*way[way.index(inner) :], inner]))
            if inner is None:
                done.add(way.pop())
            else:
                way.append(inner)


def _any(labels: Iterable[str], pattern: str) -> bool:
    return any(fnmatchcase(label, pattern) for label in labels)


def _some(hosts: Iterable[Host], known: Chosen, word: str, kind: str) -> list[Host]:
    """Return the hosts as a list, and refuse an empty one: a pattern that matches nothing is most likely a mistake."""
    found = list(hosts)
    if not found:
        labels = sorted({label for host in known.hosts.values() for label in host.labels})
        there = labels if kind == "label" else list(known.hosts)
        raise Refused(f"no host in {known.file} has a {kind} like {shown(word)}", _listed(there))
    return found


def _plain(known: Chosen, word: str) -> Host | None:
    """Return the host for `user@host:port`, which need not be in the inventory; None: the word is not of this form.

    It must have a user, a port or an IPv6 address in brackets; a bare name could be a mistyped host of the inventory.
    """
    parts = PLAIN.fullmatch(word)
    if not parts or not (parts["user"] or parts["port"] or parts["host"].startswith("[")):
        return None
    address = parts["host"].strip("[]")
    changes: dict[str, object] = {"name": word}
    if parts["user"]:
        check_user(parts["user"], "-H: user")
        changes["user"] = parts["user"]
    if parts["port"]:
        if not 0 < int(parts["port"]) < 65536:
            raise Refused(f"-H: {shown(word)}: {parts['port']} is not a port", "1 to 65535")
        changes["port"] = int(parts["port"])
    if own := listed(known.hosts, word):
        return msgspec.structs.replace(known.hosts[own], **changes)
    check_address(address, "-H")
    return msgspec.structs.replace(known.defaults, address=address, **changes)


def _listed(names: Iterable[str]) -> str:
    """List the known names, for an error; after 50, the rest is only counted."""
    names = list(names) or ["none"]
    more = f", and {len(names) - 50} more" if len(names) > 50 else ""
    return f"known: {', '.join(names[:50])}{more}"


def unknown(known: Chosen, name: str, where: str, *, groups: bool = True) -> Refused:
    """Return the refusal of a word that stands for nothing.

    Args:
        known: what hosts are chosen from.
        name: the word.
        where: prefix of the error: an option, or a key of hosts.toml.
        groups: whether the word could have been a group.
    """
    names = [*known.hosts, *([*known.groups, ALL] if groups else [])]
    near = difflib.get_close_matches(name, names, n=1)
    what = (
        f"no host or group {shown(name)} in {known.file}"
        if where.startswith("-")
        else f"{where}: no host {shown(name)}"
    )
    if name.startswith("-"):
        hint = "-H takes names of hosts and groups: fab -H hosts TASK"
    elif len(name.split()) > 1 and where.startswith("-"):
        whole = re.sub(r"\[[^\]]*\]", lambda numbers: re.sub(r"\s", "", numbers[0]), name)
        hint = f"names are separated by commas: {where} {shlex.quote(','.join(whole.split()))}"
    else:
        hint = f"did you mean {near[0]!r}?" if near else lines(known.file, name)
    return Refused(what, _listed(names), hint=hint)


def lines(file: Path, typed: str) -> str:
    """Return the hint how to add a host to hosts.toml, with TOML to append.

    Args:
        file: path of hosts.toml.
        typed: the host as it was typed: `[USER@]ADDRESS[:PORT]`.
    """
    user, _, rest = typed.rpartition("@")
    address, colon, port = rest.rpartition(":")
    if not (colon and re.fullmatch(r"[0-9]{1,5}", port)) or (":" in address and not address.endswith("]")):
        address, port = rest, ""
    address = address.strip("[]")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", address).strip("-._")[:253] or "web1"
    try:
        check_address(address, "address")
    except Refused:
        address = EXAMPLE
    toml = [f'[hosts."{name if name != ALL else "web1"}"]', f'address = "{address}"']
    if user and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", user):
        toml.append(f'user = "{user}"')
    if port and 0 < int(port) < 65536:
        toml.append(f"port = {int(port)}")
    return "\n".join([f"append these lines to {file}:", *toml])
