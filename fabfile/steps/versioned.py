"""Install products side by side as /opt/NAME/KEY, and switch to one by `current` and links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.host import Host
from fabfile.plan import Change, Command, Upload, UploadSource
from fabfile.shell import quote, words

if TYPE_CHECKING:
    from fabfile.artefacts.releases import Release


def release(host: Host, arch: str) -> Release:
    """Return the release set of a host's settings for an architecture."""
    from fabfile.artefacts import releases

    return releases.load(host.release, arch, host.mirror)


def changes(
    have: Facts, name: str, key: str, source: UploadSource, unpack: str, links: Mapping[str, str], prove: str = ""
) -> list[Change]:
    """Plan to install `source` as /opt/NAME/KEY, and to make it the current version.

    Args:
        have: facts of the machine.
        name: name of the product: containerd, go, protoc or runc.
        key: version and digest; the same key has the same content.
        source: what to upload.
        unpack: script that fills the directory $d from the file $1.
        links: path outside of /opt → path below /opt/NAME/current that it leads to.
        prove: script that must succeed on the directory $d before that is put in place.

    Raises:
        Refused: something that this tool did not make is in the place of a link.
    """
    return place(have, name, key, source, unpack, prove) + switch(have, name, key, links)


def place(have: Facts, name: str, key: str, source: UploadSource, unpack: str, prove: str = "") -> list[Change]:
    """Plan to have `source` as /opt/NAME/KEY, without using it; see `changes` for the arguments."""
    if key in have.versions[name].installed:
        return []
    parent, new, there = quote(f"/opt/{name}"), quote(f"/opt/{name}/.new-{key}"), quote(f"/opt/{name}/{key}")
    script = [
        "umask 022",
        # Left behind by an interrupted run. The modes in an archive may let others write: until they are set, nobody
        # else may enter, as a file that was opened before would stay open.
        f'rm -rf {parent}/.new-*; d={new}; mkdir -p {parent}; mkdir -m 700 "$d"',
        unpack,
        prove,
        'find "$d" -mindepth 1 ! -type l -exec chmod a=rX,u+w {} +; chmod 755 "$d"',
        # After a power cut, the new name must not exist without its content.
        f'sync -f "$d"; mv -T "$d" {there}; sync /opt {parent}',
    ]
    return [Upload(f"{name} {key} in /opt/{name}", source, "\n".join(filter(None, script)))]


def switch(have: Facts, name: str, key: str, links: Mapping[str, str], then: str = "") -> list[Change]:
    """Plan to make /opt/NAME/KEY the current version; see `changes` for the other arguments and errors.

    Args:
        then: commands that the operator should run after it has replaced another version; empty: none.
    """
    now = have.versions[name]
    blocked = [path for path in links if now.links.get(path) == ""]
    if blocked:
        raise Refused(
            f"{', '.join(blocked)}: in the way, and not installed by this tool",
            f"{name} {key} would be linked there",
            hint=f"if it is not needed any more: {words('mv', blocked[0], blocked[0] + '.old')}",
        )
    plan: list[Change] = []
    if now.current != key:
        also = f"; then also: {then}" if now.current and then else ""
        plan.append(Command(f"{name}: {now.current or 'none'} → {key}{also}", _link(f"/opt/{name}/current", key)))
    for path, inside in links.items():
        goal = f"/opt/{name}/current/{inside}".rstrip("/")
        if now.links.get(path) != goal:
            plan.append(Command(f"{path} → {goal}", _link(path, goal)))
    return plan


def says(command: str, text: str) -> str:
    """Script for `prove`: the output of `command` contains `text`, not followed by more of a version number."""
    expected = f"printf 'expected %s, it printed: %s\\n' {quote(text)} \"$said\""
    return f'said=$({command}); case "$said " in *{quote(text)}[!0-9.]*) ;; *) {expected}; exit 1 ;; esac'


def _link(path: str, goal: str) -> str:
    """Create or replace a symbolic link atomically, and sync it to disk."""
    parent, new = path.rpartition("/")[0], f"{path}.new"
    steps = (("mkdir", "-p", parent), ("ln", "-sfn", goal, new), ("mv", "-T", new, path), ("sync", parent))
    return "; ".join(words(*step) for step in steps)
