"""Run one command on hosts: for inspection, as the change that it makes is not repeated or recorded."""

from __future__ import annotations

import msgspec

from fabfile.console import say, shown
from fabfile.errors import Failed, Pending
from fabfile.output.answer import show
from fabfile.output.outcome import Outcome, note, result
from fabfile.remote import target
from fabfile.remote.context import Context


class Ran(msgspec.Struct, frozen=True):
    """The outcome of a command."""

    exit_code: int
    stdout: str
    stderr: str


def run_command(c: Context, command: str) -> None:
    """Run a command as root and print its output.

    Raises:
        Pending: with --dry.
        Failed: its exit code is not 0.
    """
    if target.is_dry(c):
        show(f"pending  run\n    $ {command}", always=True)
        note(Outcome("run", "pending", command, 0))
        raise Pending
    done = target.run(c, f"unset -f echo\n{command}")  # ours is for our own scripts; theirs may say echo -n
    result(Ran(done.exited, done.stdout, done.stderr))
    if done.stdout:
        show(done.stdout.rstrip("\n"))
    if done.exited:
        raise Failed(f"run: {shown(command)} failed", f"exit code {done.exited}\n{done.stderr}")
    if done.stderr:
        say(done.stderr.rstrip("\n"), error=True)
