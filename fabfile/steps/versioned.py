"""The one way anything is installed: /opt/NAME/KEY beside what is there, then `current` and the links are switched."""

from __future__ import annotations

from collections.abc import Mapping

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.plan import Change, Command, Source, Upload, words
from fabfile.target import quote


def changes(
    have: Facts, name: str, key: str, source: Source, unpack: str, links: Mapping[str, str], prove: str = ""
) -> list[Change]:
    """Install `source` as /opt/NAME/KEY and make it the current one.

    Args:
        have: the facts.
        name: of the product: containerd, go, protoc, runc.
        key: version and digest; the same key is the same content.
        source: what to bring to the machine.
        unpack: script that fills the directory $d from the file $1.
        links: path outside /opt → path below /opt/NAME/current that it leads to.
        prove: script that must succeed in the directory $d before it is put in place.

    Raises:
        Refused: something that is not ours is where a link has to be.
    """
    return place(have, name, key, source, unpack, prove) + switch(have, name, key, links)


def place(have: Facts, name: str, key: str, source: Source, unpack: str, prove: str = "") -> list[Change]:
    """Have `source` as /opt/NAME/KEY, beside what is there and without using it. Arguments as for `changes`."""
    if key in have.versions[name].installed:
        return []
    parent, new, there = quote(f"/opt/{name}"), quote(f"/opt/{name}/.new-{key}"), quote(f"/opt/{name}/{key}")
    script = [
        "umask 022",
        # What an interrupted run left is of no use to anybody.
        f'rm -rf {parent}/.new-*; d={new}; mkdir -p "$d"',
        unpack,
        prove,
        # After a power cut the rename must not be there without the content.
        f'sync -f "$d"; mv -T "$d" {there}; sync /opt {parent}',
    ]
    return [Upload(f"{name} {key} in /opt/{name}", source, "\n".join(filter(None, script)))]


def switch(have: Facts, name: str, key: str, links: Mapping[str, str]) -> list[Change]:
    """Make /opt/NAME/KEY the current one. Arguments and errors as for `changes`."""
    now = have.versions[name]
    blocked = [path for path in links if now.links.get(path) == ""]
    if blocked:
        raise Refused(
            f"{', '.join(blocked)}: in the way, and not installed by us",
            f"{name} {key} would be linked there",
            hint=f"if it is not needed any more: {words('mv', blocked[0], blocked[0] + '.old')}",
        )
    plan: list[Change] = []
    if now.current != key:
        plan.append(Command(f"{name}: {now.current or 'none'} → {key}", _link(f"/opt/{name}/current", key)))
    for path, inside in links.items():
        goal = f"/opt/{name}/current/{inside}".rstrip("/")
        if now.links.get(path) != goal:
            plan.append(Command(f"{path} → {goal}", _link(path, goal)))
    return plan


def says(command: str, text: str) -> str:
    """Script for `prove`: the output of `command` has `text`, and a version at its end is not part of a longer one."""
    expected = f"printf 'expected %s, it printed: %s\\n' {quote(text)} \"$said\""
    return f'said=$({command}); case "$said " in *{quote(text)}[!0-9.]*) ;; *) {expected}; exit 1 ;; esac'


def _link(path: str, goal: str) -> str:
    """Make or switch a symbolic link atomically, and for good."""
    parent, new = path.rpartition("/")[0], f"{path}.new"
    steps = (("mkdir", "-p", parent), ("ln", "-sfn", goal, new), ("mv", "-T", new, path), ("sync", parent))
    return "; ".join(words(*step) for step in steps)
