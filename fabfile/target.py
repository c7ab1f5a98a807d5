"""One machine, here or there: run, stage, read. Everything else derives from these.

`c` is an Invoke `Context` (this machine) or a Fabric `Connection`; no step asks which.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from fabfile.errors import Failed

if TYPE_CHECKING:
    from invoke import Context, Result

PROLOGUE = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
"""The same environment for every script: messages we can parse, and sbin also for a user who has none in PATH."""

# The script travels as $0 of this one: one level of quoting, whatever the login shell is, and root either way.
_AS_ROOT = 'if [ "$(id -u)" -eq 0 ]; then exec sh -c "$0"; else exec sudo -n sh -c "$0"; fi'

quote = shlex.quote


def run(c: Context, script: str) -> Result:
    """Run a POSIX sh script as root and return its result, whatever the exit code; never affected by --dry.

    Args:
        c: the machine.
        script: the text of the script; every value in it went through `quote`.

    Raises:
        Failed: the connection was lost before the script ended, or root is not to be had.
        Unreachable: the machine could not be reached.
    """
    command = f"exec sh -c {quote(_AS_ROOT)} {quote(PROLOGUE + script)}"
    # A script reads nothing: with a standard input Invoke would poll it for every command, and ctr would eat it.
    result = c.run(command, shell="/bin/sh", hide=True, warn=True, in_stream=False, dry=False, echo=False, pty=False)
    assert result is not None  # only a disowned command has no result
    if result.exited == -1:
        raise Failed(
            "the connection was lost while a command ran", result.stderr, hint="run it again: it goes on from there"
        )
    if result.exited == 1 and result.stderr.startswith("sudo:"):
        raise Failed("this needs root", result.stderr, hint="run it as root, or give the user password-less sudo")
    return result


def sh(c: Context, script: str, doing: str) -> str:
    """Run a script as root and return what it printed.

    Args:
        c: the machine.
        script: as in `run`.
        doing: what the script does, for the error.

    Raises:
        Failed: a non-zero exit code.
    """
    result = run(c, script)
    if result.exited:
        raise Failed(f"{doing} failed", f"exit code {result.exited}\n{result.stdout}{result.stderr}")
    return str(result.stdout)


def stage(c: Context, source: Path, name: str) -> str:
    """Make a controller's file readable on the machine and return its path there.

    On this machine that is the file itself. Elsewhere it goes by SFTP to a name under /var/tmp that nobody else reads
    before its digest was checked; `unstage` removes it.

    Raises:
        Failed: the file could not be written there.
    """
    put = getattr(c, "put", None)
    if put is None:
        return str(source)
    remote = f"/var/tmp/.containerd-devmapper-{name}"
    try:
        put(str(source), remote)
    except OSError as error:  # SFTP says no more than "Failure" where the disk is full
        room = "is there room in /var/tmp? df -h /var/tmp; then run it again"
        raise Failed(f"could not bring {name} to the machine", f"{remote}: {error}", hint=room) from error
    return remote


def unstage(c: Context, paths: list[str]) -> None:
    """Remove what `stage` brought to another machine."""
    if paths and hasattr(c, "put"):
        sh(c, f"rm -f {' '.join(map(quote, paths))}", "removing staged files")


def is_dry(c: Context) -> bool:
    """Whether the user asked for the plan only (`--dry`)."""
    return bool(c.config.run.dry)
