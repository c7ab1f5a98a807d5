"""Nothing is destroyed except through the gate: what no other file may contain."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from fabfile.paths import REPOSITORY

GATE = "templates/pool/gate.sh.j2"

DESTROYS = re.compile(
    r"\bwipefs (?!-n)|\bdd \S*.*\bof=(?!/dev/null)|\bmkfs(\.\w+)? |\bmke2fs -(?!n)|\blv(remove|reduce)\b"
    r"|\bvg(remove|reduce)\b|\bpvremove\b|\bblkdiscard\b|\bshred\b|\blosetup (-d|-D|--detach)"
    r"|\bdmsetup (remove|wipe_table)|/etc/fstab\b"
)
"""Commands that destroy the content of a device."""

PROGRAMS = {"wipefs", "dd", "mkfs.xfs", "mkswap", "dmsetup remove", "losetup -d", "rm"}
"""Programs with which no command of a plan may start."""

REMOVES = re.compile(r"(?<!tasks )\brm -")
"""The removal of a file counts only in code about pools, whose files could be removed."""

ALLOWED = {
    "fabfile/pool/loop/fstab.py": (
        re.compile("/etc/fstab"),
        "it is only looked at: the gate edits it, a line at a time",
    ),
    "templates/pool/devmapper-pool.sh.j2": (
        re.compile(r"losetup -d|dmsetup remove"),
        "at shutdown, what the kernel's table and the files' own inodes say is the pool's; it is made again at boot",
    ),
}
"""File → what else it may contain, and why."""

PLAIN = {
    "fabfile/pool/remove.py": "units, records and locks of ours below /etc, /run and /var/lib",
    "templates/pool/state.sh.j2": "containerd's own state, in its own directories",
    "templates/pool/common.sh.j2": "its own scratch directory",
    "templates/pool/backup.sh.j2": "backups, in their own directory",
    "templates/pool/copies.sh.j2": "older copies of databases, beside the backups",
    "fabfile/pool/maintain/restore.py": "the name of the backup that was being restored",
    "templates/pool/swap.sh.j2": "the same, if the metadata could not be exchanged",
    "templates/pool/restore.sh.j2": "its own scratch directory beside the backups",
    "templates/pool/install.sh.j2": "the new database before it takes the place of the old",
    "templates/pool/devmapper-pool.sh.j2": "its own warning in /run",
}
"""File → what it removes; there are no pools in these places."""

LATER: set[str] = set()
"""Files whose commands have not been moved into the gate yet."""


def shell(path: Path) -> list[str]:
    """List the lines of a template, or the strings in a module, without comments, docstrings and text for people."""
    if path.suffix != ".py":
        return [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    tree = ast.parse(path.read_text())
    prose: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            prose.add(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PROSE:
            prose |= set(ast.walk(node))
    prose |= {inner for node in list(prose) if isinstance(node, ast.Constant) for inner in ast.walk(node)}
    return [
        node.value for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose
    ]  # fmt: skip


PROSE = {"Refused", "Failed", "Finding", "Obstacle"}


def sources() -> list[Path]:
    found = [*(REPOSITORY / "fabfile").rglob("*.py"), *(REPOSITORY / "templates").rglob("*.j2")]
    return [path for path in found if "lab" not in path.relative_to(REPOSITORY).parts]


def hits(path: Path) -> list[str]:
    """List what a file contains that is destructive and not allowed."""
    name = str(path.relative_to(REPOSITORY))
    of_pools = "/pool/" in name
    allowed = ALLOWED.get(name, (re.compile("(?!)"), ""))[0]
    return [
        line for line in shell(path)
        if any(not allowed.fullmatch(hit[0]) for hit in DESTROYS.finditer(line))
        or (of_pools and (line in PROGRAMS - ({"rm"} if name in PLAIN else set())))
        or (of_pools and name not in PLAIN and REMOVES.search(line))
    ]  # fmt: skip


def test_nothing_is_destroyed_outside_of_the_gate() -> None:
    found = {str(path.relative_to(REPOSITORY)): lines for path in sources() if (lines := hits(path))}
    assert len(found.pop(GATE)) > 10
    assert {name: lines for name, lines in found.items() if name not in LATER} == {}
    assert set(found) == LATER


@pytest.mark.parametrize("name", [*ALLOWED, *PLAIN])
def test_every_exception_is_needed(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    assert DESTROYS.search(text) if name in ALLOWED else re.search(r'\brm -|"rm"', text)


@pytest.mark.parametrize(
    "line",
    [
        "wipefs -q -a /dev/sdb", "dd if=/dev/zero of=/dev/sdb", "mkfs.ext4 -q /dev/sdb",
        "mkfs -t xfs /dev/sdb", "lvremove",
        "vgreduce --removemissing", "losetup -d /dev/loop0", "dmsetup remove pool", "echo x >>/etc/fstab",
        "blkdiscard /dev/sdb", "lvm lvremove -y vg/lv",
    ],
)  # fmt: skip
def test_destructive_commands_are_recognised(line: str) -> None:
    assert DESTROYS.search(line)
