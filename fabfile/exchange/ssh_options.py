"""Options of ssh in variables of Ansible: the jump hosts on the way to a host, and its known_hosts file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import msgspec

from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.selection import PLAIN

FLAGS = "46AaCfGgKkMNnqsTtVvXxYy"
"""Letters of the options without a value; all others have one."""

MOST_HOPS = 20
"""Limit for the jump hosts on the way to one host."""

SETTINGS = {
    "j": "hops", "proxyjump": "hops", "proxycommand": "hops", "userknownhostsfile": "known_hosts"
}  # fmt: skip
"""Letters and names of options in lower case → the setting they are for; ssh takes the first one for each."""

FORWARD = re.compile(r"-W\s+(?:%h:%p|\[%h\]:%p)")


class Hop(msgspec.Struct, frozen=True):
    """A jump host; a user or port that is not given is empty."""

    host: str
    user: str = ""
    port: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user and f'{self.user}@'}{host}{self.port and f':{self.port}'}"


class Options(msgspec.Struct):
    """The options of an ssh command, as far as an inventory has settings for them."""

    hops: tuple[Hop, ...] = ()
    known_hosts: str = ""
    left: list[str] = []
    """Options for which hosts.toml has no setting, without their values: `-o ControlMaster`."""


def read(text: str) -> Options:
    """Parse the options of an ssh command.

    Raises:
        ValueError: the text cannot be split into words.
    """
    found, seen = Options(), set[str]()
    words = shlex.split(text)
    while words:
        word = words.pop(0)
        letter, value = word[1:2], word[2:]
        if not word.startswith("-") or not letter:
            found.left.append("a word that is no option")
        elif letter in FLAGS:
            found.left.append(f"-{letter}")
            words[:0] = [f"-{value}"] if value else []
        else:
            value = value or (words.pop(0) if words else "")
            name, _, value = (
                re.split(r"(\s*=\s*|\s+|$)", value.strip(), maxsplit=1) if letter == "o" else (letter, "", value)
            )
            setting = SETTINGS.get(name.lower(), "")
            if setting in seen:
                continue
            seen |= {setting} - {""}
            if not _take(found, name.lower(), value):
                found.left.append(f"-o {name}" if letter == "o" else f"-{letter}")
    return found


def _take(found: Options, name: str, value: str) -> bool:
    """Store an option in `found`, if an inventory has a setting for it.

    Args:
        found: the options so far.
        name: letter of the option, or name of one given with `-o`, in lower case.
        value: its value.

    Returns:
        Whether it was stored.
    """
    hops: Sequence[Hop | None] = ()
    if name in ("j", "proxyjump"):
        words = value.split(",")
        if len(words) > MOST_HOPS:
            return False
        hops = [_hop(word, times) for word, times in zip(words, _expansions(len(words)), strict=True)]
    elif name == "proxycommand":
        hops = [_forwarded(value)]
    elif name == "userknownhostsfile" and (file := _file(value)):
        found.known_hosts = file
        return True
    known = tuple(hop for hop in hops if hop)
    if not known or len(known) < len(hops):
        return False
    found.hops = known
    return True


def _file(text: str) -> str:
    """Return the path in the value of an option; empty: it has no path, or several, or one with variables."""
    plain = text.removeprefix('"').removesuffix('"') if len(text) > 2 and text[0] == text[-1] == '"' else text
    several = plain == text and re.search(r"\s", text)
    variable = re.search(r"%|\$\{|[\"\\]", plain.replace("%%", ""))
    return "" if several or variable or plain in ("/dev/null", "none") else plain.replace("%%", "%")


def _expansions(count: int) -> range:
    """Return how often ssh expands each of some jump hosts: once for each ssh that is started on the way to it."""
    return range(count, 0, -1)


def _hop(word: str, expansions: int = 1) -> Hop | None:
    """Return a jump host; None: the word is not one, or has variables.

    Args:
        word: the word; in an IPv6 address with a zone, each expansion makes one percent sign of two.
        expansions: how often ssh expands it.
    """
    percent, mark = "%" * 2**expansions, "\0"
    plain = word.replace(percent, mark)
    parts = PLAIN.fullmatch(plain.replace(mark, "%").removeprefix("ssh://").strip())
    if not parts or word == "none" or re.search(r"[%${}]", plain):
        return None
    return Hop(parts["host"].strip("[]"), parts["user"] or "", parts["port"] or "")


def _forwarded(command: str) -> Hop | None:
    """Return the host of `ssh -W %h:%p -q user@host`, as in Ansible's documentation; None for any other command."""
    forward = FORWARD.search(command)
    words = shlex.split(FORWARD.sub("", command)) if forward else []
    port = re.fullmatch(r"ssh (?:-q )?(?:-p ?([0-9]+) )?(?:-q )?([^\s-]\S*)", " ".join(words))
    hop = _hop(port[2]) if port else None
    return msgspec.structs.replace(hop, port=port[1]) if hop and port and port[1] else hop


def write(hops: Sequence[Hop], known_hosts: str) -> str:
    """Format the options for an ssh command.

    Args:
        hops: jump hosts, the first one on the way first.
        known_hosts: path of the known_hosts file; empty: ssh's own default.

    Raises:
        Refused: see `path`.
    """
    words = [str(hop).replace("%", "%" * 2**times) for hop, times in zip(hops, _expansions(len(hops)), strict=True)]
    options = [f"ProxyJump={','.join(words)}"] if hops else []
    options += [f"UserKnownHostsFile={path(known_hosts, 'known_hosts')}"] if known_hosts else []
    return shlex.join([word for option in options for word in ("-o", option)])


def path(text: str, name: str) -> str:
    """Format a path as the value of an option.

    Args:
        text: the path.
        name: what the path is, for an error.

    Raises:
        Refused: ssh would read a different path.
    """
    if "${" in text:
        raise Refused(f"{name}: {shown(text)} cannot be exported", "ssh would look for a variable in it")
    return word(text.replace("%", "%%"), name)


def word(text: str, name: str) -> str:
    """Format a text as the value of an option.

    Args:
        text: the text.
        name: what the text is, for an error.

    Raises:
        Refused: ssh would read a different text.
    """
    if re.search(r'["\\\n\r]', text):
        raise Refused(f"{name}: {shown(text)} cannot be exported", "ssh takes no quotes and backslashes there")
    return f'"{text}"' if re.search(r"[\s#'=]", text) else text
