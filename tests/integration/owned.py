"""The table of docs/files.md, compared with the files on a host."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fabfile.paths import REPOSITORY

ROW = re.compile(r"\| `(/[^`]*)` \| ([\d, ]+|link) \| (\w+):(\w+) \| [^|]+ \|")
NAME = re.compile(r"([A-Z]{3,}|…)")


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    path: str
    mode: str
    owner: str
    group: str

    def allows(self, file: Found) -> bool:
        """Return whether the file has a mode and owner of the line."""
        return file.mode in self.mode.split(", ") and (file.owner, file.group) == (self.owner, self.group)

    def matches(self, path: str) -> bool:
        """Return whether the line is about this path; that of a directory ends with a slash."""
        parts = (
            ".+" if part == "…" else "[^/]+" if NAME.fullmatch(part) else re.escape(part)
            for part in NAME.split(self.path)
        )
        return re.fullmatch("".join(parts), path) is not None


@dataclass(frozen=True)
class Found:
    """A file on a host."""

    path: str
    mode: str
    owner: str
    group: str


def table() -> list[Row]:
    """Return the lines of docs/files.md, in order."""
    text = (REPOSITORY / "docs" / "files.md").read_text()
    return [Row(*found) for found in ROW.findall(text)]


PLACES = """
set -- / /run $(findmnt -n -r -o TARGET -t ext4 | grep ^/var/lib/)
"""
"""File systems that may have files of ours."""

MARK = f"""{PLACES}
rm -f /root/.bashrc; printf 'umask {{umask}}\\necho a line of the login\\n' >/root/.bashrc
find "$@" -xdev -type d -printf '%p/\\t%m\\t%u\\t%g\\n' >/root/directories
touch /root/mark; sleep 0.1
"""
"""What exists before root writes with that umask, and with a login that prints something (G13)."""

NEW = f"""{PLACES}
rm /root/.bashrc; echo @@listed
find "$@" -xdev -cnewer /root/mark ! -type s -printf '%y\\t%p\\t%m\\t%u\\t%g\\n'
echo; cat /root/directories
"""
"""Everything written or changed since; of earlier directories, most have only new entries."""

OTHERS = re.compile(
    r"/|/(proc|sys|dev|tmp|root|home)/.*|/var/(log|tmp|cache|lib/systemd)/.*"
    r"|/run/(systemd|udev|log|user|mount|lock/lvm|lvm|utmp|sshd|motd).*"
    r"|/run/containerd(-[a-z]+)?/.+|/var/lib/containerd(-[a-z]+)?/(io\.containerd\..*|tmpmounts/.*)"
)
"""What other programs may write at any time, and a running containerd in its own directories."""


def new(printed: str) -> list[Found]:
    """Parse what was written since the mark, from the output of NEW."""
    listed, _, directories = printed.partition("@@listed\n")[2].partition("\n\n")
    before = set(directories.splitlines())
    found = []
    for line in listed.splitlines():
        kind, path, mode, owner, group = line.split("\t")
        path = f"{path}/" if kind == "d" else path
        if "\t".join((path, mode, owner, group)) not in before and not OTHERS.fullmatch(path):
            found.append(Found(path, "link" if kind == "l" else mode, owner, group))
    return sorted(found, key=lambda file: file.path)
