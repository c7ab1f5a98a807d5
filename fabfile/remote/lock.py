"""The lock of a machine: a script that changes the machine holds it, and writes into its file on whose behalf.

It is a lock of the kernel (flock), so it is released when the script that took it ends, for whatever reason. A
generation counts the changes made on the machine; a plan that was made for an older generation is not applied.

Only root may open the file: whoever can open it, even to read it, can hold the lock.
"""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING, Any

from fabfile import interruption
from fabfile.console import say
from fabfile.errors import Failed
from fabfile.remote import execution, target
from fabfile.remote.execution import ScriptResult
from fabfile.render import render
from fabfile.shell import quote

if TYPE_CHECKING:
    from fabfile.remote.context import Context

LOCK = "/run/containerd-devmapper.lock"
GENERATION = "/run/containerd-devmapper.generation"

BUSY, STALE = 75, 76
"""Exit codes of a script that begins with `taken`: somebody else holds the lock; or the machine was changed after its
facts were gathered. Once the script has printed a mark, an exit code is that of a change."""

FOREIGN = "not a task of this tool"
"""After the name of a process that holds the lock, and its user."""

SHORT = 5
"""Seconds that a script itself waits for the lock; before `run` waits longer, it prints who holds the lock."""

SETTING = "wait_lock"
"""Key of the value of --wait-lock in the configuration of a context."""


class Stale(Exception):
    """The machine was changed after its facts were gathered; the message says by whom."""


def choose(config: Any, typed: str) -> None:
    """Store the value of --wait-lock in a configuration; empty: the option was not given."""
    if typed:
        config[SETTING] = int(typed)


def patience(c: Context) -> int | None:
    """Return the seconds of --wait-lock; None: the option was not given."""
    seconds = getattr(c.config, SETTING, None)
    return None if seconds is None else int(seconds)


def taken(generation: str, name: str = "", wait: int | None = None) -> list[str]:
    """Return the first lines of a script, which take the lock for it, on file descriptor 9.

    Args:
        generation: generation for which the plan was made.
        name: name of the step or task.
        wait: seconds of --wait-lock, see `patience`; `devmapper-pool` waits as long for the lock of a pool.
    """
    seconds = SHORT if wait is None else min(wait, SHORT)
    login = "login ${SUDO_USER:-$(id -un)}${SSH_CLIENT:+ from ${SSH_CLIENT%% *}}"
    return [
        f"umask 077; exec 9>>{LOCK}; umask 022; chmod 600 {LOCK}",  # an earlier version let everybody read it
        f"flock -w {seconds} 9 || {_say_who()}",
        f"now=''; [ ! -r {GENERATION} ] || read -r now <{GENERATION}",
        f'now=${{now:-0}}; [ "$now" = {quote(generation)} ] || {{ cat {LOCK}; exit {STALE}; }}',
        f"echo $((now + 1)) >{GENERATION} || {{ echo 'nothing can be written to /run:'; df /run; exit 1; }}",
        f'echo {quote(f"held by {_me()}, {name}")}" ({login}), pid $$, since $(date)" >{LOCK}',
        *([] if wait is None else [f"export DEVMAPPER_POOL_WAIT={wait}"]),
    ]


def waiting(seconds: int) -> str:
    """Return a script that waits until the lock is free; if it is still held then, it ends with `BUSY`.

    Args:
        seconds: limit for the wait.
    """
    return f"flock -w {seconds} {LOCK} true || {_say_who()}\n"


def _say_who() -> str:
    """Return the shell code for a script that did not get the lock: it prints who holds it, and exits with `BUSY`."""
    return f"{{\n{render('remote/lock-holders.sh.j2', lock=LOCK, foreign=FOREIGN)}say_holders; exit {BUSY}; }}"


def _me() -> str:
    """Return the user who runs this program, and where: `user@controller`."""
    import getpass
    import os
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user has no name, for example in a container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def begun(result: ScriptResult) -> bool:
    """Return whether a script has reached its first mark; from then on its exit code is that of a change."""
    return result.stdout.startswith("@@")


def run(c: Context, name: str, script: str, hear: execution.Hear | None = None) -> ScriptResult:
    """Run a script that begins with `taken`, and wait for the lock if somebody else holds it.

    The answer has to be passed to `check`.

    Args:
        c: the machine.
        name: name of the step or task.
        script: the script.
        hear: see `execution.script`.

    Raises:
        Interrupted: the script was stopped, or Ctrl-C ended the wait.
    """
    most = patience(c) or 0
    until = monotonic() + most
    while True:
        result = target.run(c, script, limit=execution.SECONDS + most, hear=hear)
        if begun(result) or result.exited not in (BUSY, STALE):
            return result
        interruption.undone()
        left = math.ceil(until - monotonic())
        if result.exited == STALE or left <= 0:
            return result
        say(f"{name}: waiting for the lock, at most {left} s; {' '.join(result.stdout.split())}")
        waited = target.run(c, waiting(left), limit=left + execution.SECONDS, read_only=True)
        if waited.exited:
            return waited


def check(name: str, result: ScriptResult) -> None:
    """Raise an error if a script did not get the lock, or its plan is out of date.

    Raises:
        Failed: somebody else holds the lock.
        Stale: the machine was changed after the plan was made.
    """
    if result.exited == STALE and not begun(result):
        raise Stale(result.stdout.strip())
    if result.exited == BUSY and not begun(result):
        hint = "wait, then run it again; with --wait-lock SECONDS before the task it waits by itself"
        what = f"{name}: another operator is changing the host"
        if FOREIGN in result.stdout:
            what = f"{name}: another process holds the lock of the host"
            hint = f"end the named process, if it is not needed: kill PID on the host; or {hint}"
        raise Failed(what, result.stdout, hint=hint)
