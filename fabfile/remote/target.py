"""Run scripts on a host and upload files to it: all access to hosts goes through this module.

`c` is an Invoke `Context` (inv: the controller itself) or a Fabric `Connection` (fab). Steps treat both alike; only
`steps.origin` reads the inventory entry that a connection has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fabfile import activity
from fabfile.activity import Transfer
from fabfile.console import printable
from fabfile.errors import Failed
from fabfile.remote import execution
from fabfile.remote.execution import ScriptResult
from fabfile.shell import quote, words

if TYPE_CHECKING:
    from fabfile.remote.context import Context

PROLOGUE = """umask 022; export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1
"""
"""The same environment for every script: messages we can parse, sbin also for a user who has none in PATH, and files
that only their owner writes, whatever the login's umask is. ctr prints no warnings, which we could take for results."""

STAGE = r"""umask 077
# It may be a link to another directory. Whoever may rename that, or one above it, may replace what is in it.
up=$(readlink -f /var/tmp)
set -- "$up"
while [ "$up" != / ]; do
  up=${up%/*}
  up=${up:-/}
  set -- "$@" "$up"
done
loose=$(find "$@" -prune '(' ! -uid 0 -o -perm -o=w ! -perm -1000 ')' | head -n 1)
[ -z "$loose" ] || { echo "others may rename what is in /var/tmp: ls -ld $loose"; exit 1; }
# What it does not remove is no reason to fail; nor is what others remove meanwhile.
find -H /var/tmp -maxdepth 1 -type d -user root -mmin +1440 -regex '/var/tmp/containerd-devmapper\.\w*' \
  -exec rm -rf {} + 2>/dev/null || :
d=$(mktemp -d /var/tmp/containerd-devmapper.XXXXXXXXXX)
trap '[ "$done" ] || rm -rf "$d"' EXIT
done=''
cat <&3 >"$d/file" || { df -h /var/tmp; exit 1; }
[ "$(stat -c %s "$d/file")" = "$size" ] || { echo "only $(stat -c %s "$d/file") of $size bytes came"; exit 1; }
done=yes
echo "$d/file"
"""
"""A copy that only root can read, in a directory that nobody else can enter or rename; its user checks this copy.

A run that is killed or disconnected between an upload and its use leaves a copy, which is removed after a day."""

STAGED = re.compile(r"(/var/tmp/containerd-devmapper\.\w{10})/file")
"""Path of such a copy, and its directory."""

RATE = 64 << 10
"""Slowest rate of an upload, in bytes per second; a slower one is aborted, one minute later."""


def run(
    c: Context,
    script: str,
    *,
    limit: float = execution.SECONDS,
    read_only: bool = False,
    hear: execution.Hear | None = None,
) -> ScriptResult:
    """Run a POSIX sh script as root and return its answer, whatever the exit code; never affected by --dry.

    Args:
        c: the machine.
        script: the text of the script; each value in it must be quoted with `quote`.
        limit: seconds.
        read_only: whether it changes nothing, so that the first Ctrl-C may stop it.
        hear: called with standard output as it arrives.

    Raises:
        Interrupted: it was stopped, or was not started because of an earlier Ctrl-C.
        Failed: the connection was lost before the script ended, a limit was reached, or root access was denied.
        Unreachable: the machine could not be reached.
    """
    return execution.script(c, PROLOGUE + script, limit=limit, read_only=read_only, hear=hear)


def sh(c: Context, script: str, doing: str, *, limit: float = execution.SECONDS, read_only: bool = False) -> str:
    """Run a script as root and return what it printed.

    Args:
        c: the machine.
        script: as in `run`.
        doing: what the script does, for the error.
        limit: seconds.
        read_only: as in `run`.

    Raises:
        Failed: a non-zero exit code.
    """
    result = run(c, script, limit=limit, read_only=read_only)
    if result.exited:
        raise Failed(f"{doing} failed", f"exit code {result.exited}\n{result.stdout}{result.stderr}")
    return result.stdout


def stage(c: Context, source: Path, name: str) -> str:
    """Upload a file to the host, into a directory that only root can enter, and return its path there.

    With inv, nothing is uploaded, and the path is that of the file itself. `unstage` removes the upload.

    Args:
        c: the machine.
        source: the file.
        name: what it is, for the error.

    Raises:
        Failed: the file could not be written there.
    """
    if not hasattr(c, "host"):
        return str(source)
    size = source.stat().st_size
    script = f"{PROLOGUE}set -eu; size={size}\n{STAGE}"
    transfer = activity.Transfer(f"uploading {name}", size)
    with activity.doing(transfer.__str__):
        result = execution.script(c, script, data=_pieces(source, transfer), limit=60 + size / RATE)
    if result.exited:
        output = result.stdout + result.stderr
        raise Failed(f"could not upload {name} to the host", output, hint=_uploadable(output))
    path = result.stdout.strip()
    if not STAGED.fullmatch(path):
        hint = "see what this prints on the host: mktemp -du /var/tmp/containerd-devmapper.XXXXXXXXXX"
        raise Failed(f"could not upload {name} to the host", f"it answered {printable(path[:200])}", hint=hint)
    return path


def _uploadable(output: str) -> str:
    """Return the hint for an upload that failed, depending on the error that the host printed."""
    if "Read-only file system" in output:
        return "make /var/tmp writable, then run it again"
    if found := re.search("^others may rename .*: ls -ld (.*)", output, re.MULTILINE):
        place = words(found[1])
        return f"chown root {place} && chmod +t {place}; then run it again"
    return "is there room in /var/tmp? df -h /var/tmp; then run it again"


def _pieces(source: Path, transfer: Transfer) -> Iterator[bytes]:
    with source.open("rb") as stream:
        while piece := stream.read(1 << 20):
            yield piece
            transfer.came += len(piece)


def removal(c: Context, paths: list[str]) -> str:
    """Return the command that removes what `stage` uploaded, with its directory; empty if nothing was uploaded.

    Raises:
        ValueError: a path is not one that `stage` returned.
    """
    if not paths or not hasattr(c, "host"):
        return ""
    found = [STAGED.fullmatch(path) for path in paths]
    directories = [match[1] for match in found if match]
    if len(directories) != len(paths):
        raise ValueError(f"not staged: {paths}")
    return f"rm -rf {' '.join(map(quote, directories))}"


def unstage(c: Context, paths: list[str]) -> None:
    """Remove what `stage` uploaded to another host; see `removal`."""
    if command := removal(c, paths):
        sh(c, command, "removing staged files", limit=60)


def is_dry(c: Context) -> bool:
    """Return whether only the plan was requested (`--dry`)."""
    return bool(c.config.run.dry)
