"""One command on the hosts: for a look, not for a change that somebody wants to see again."""

from __future__ import annotations

from invoke import Context, task

from fabfile import target
from fabfile.console import say
from fabfile.errors import Failed, Refused


@task(help={"command": "POSIX sh; run as root, without standard input"})
def run(c: Context, command: str) -> None:
    """Run a command as root and show what it says."""
    if not command.strip():
        raise Refused("run: no command", hint="fab -H hosts run --command 'uname -r'")
    if target.is_dry(c):
        say(f"would run: {command}")
        return
    result = target.run(c, command)
    if result.stdout:
        say(result.stdout.rstrip("\n"))
    if result.exited:
        raise Failed(f"run: {command!r} failed", f"exit code {result.exited}\n{result.stderr}")
    if result.stderr:
        say(result.stderr.rstrip("\n"), error=True)
