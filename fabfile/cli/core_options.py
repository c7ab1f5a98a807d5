"""Options in front of the first task that this program adds to those of Invoke (inv) and Fabric (fab)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from invoke import Argument, Program

from fabfile.cli import batches
from fabfile.cli.task import Flag
from fabfile.inventory import MOST_PARALLEL
from fabfile.option import Option
from fabfile.remote import password

NARROW = {
    "limit": "words that hosts of -H must also match: names, groups, globs, ranges, @labels",
    "exclude": "words for hosts of -H to leave out",
}
RETRY = {"retry-from": "earlier run, as named by inv runs.list, or last: selects only its hosts that did not succeed"}
"""Options of fab, in front of the task."""

SELECTION = re.compile(rf"(?:-H|--(?:{'|'.join(['hosts', *NARROW, *RETRY])})(?==|$))=?(?P<value>.*)", re.DOTALL)
"""A word that selects hosts. Without a value, the next word is its value."""

FILES = {
    "events": "file to write events to, as JSON lines",
    "junit": "file to write outcomes to, in JUnit's XML format",
}
BOTH = {
    **FILES,
    "plain": "show no live display on the terminal",
    password.FILE: "file with the sudo password, mode 0600",
    password.COMMAND: "command that prints the sudo password",
}
"""Options of both programs, in front of the task."""


CAREFUL = (
    Option("parallel", int, "hosts at a time; overrides hosts.toml", least=1, most=MOST_PARALLEL),
    Option("batches", str, "sizes of batches of hosts, such as 1,5,20%; the last one is repeated", check=batches.sizes),
    Option(
        "max_fail",
        str,
        "hosts that may fail before no further host is started, such as 2 or 10%",
        check=batches.limit,
    ),
)
"""Options of fab, in front of the task, that control how many hosts begin."""

WAIT = Option(
    "wait_lock", int, "seconds to wait for a lock that another run holds on the host", least=0, most=24 * 3600
)
"""An option of both programs, in front of the task."""

UNSUPPORTED = {
    "collection": ("there are no other tasks", "remove it"),
    "command-timeout": ("a script may take one hour", "remove it"),
    "config": ("settings are in hosts.toml", "remove it"),
    "echo": ("the commands of a task are part of its plan", "put --dry before the task, and --diff after it"),
    "hide": ("the output of scripts is part of a task's own output", "redirect the output of the program"),
    "prompt-for-login-password": ("hosts are logged in to with keys", "ssh-copy-id USER@HOST"),
    "prompt-for-passphrase": ("a key with a passphrase must be in the agent", "ssh-add"),
    "pty": ("scripts run without a terminal", "remove it"),
    "warn-only": ("a task ends at its first command that fails", "remove it"),
}
"""Options of Invoke and Fabric that would have no effect, or ask for a secret that --debug prints → why, and a hint."""


HELP = {
    "connect-timeout": "seconds to wait for a connection; overrides hosts.toml",
    "dry": "show the plan, and change nothing",
    "hosts": "hosts to work on: names, groups, globs, ranges, @labels or USER@HOST:PORT, separated by commas",
    "prompt-for-sudo-password": "ask for the sudo password once, before any connection is made",
    "ssh-config": "file to read instead of ~/.ssh/config and /etc/ssh/ssh_config",
}
"""Options of Invoke and Fabric whose own help does not tell what they do here → help."""


def extend(program: Program) -> None:
    """Add our options to those that a program takes in front of the task, once.

    The program may have parsed that part already.

    Args:
        program: `inv` or `fab`; it parses the whole command line later, when it knows the tasks.
    """
    own = program.core_args
    if any(argument.name == "plain" for argument in own()):
        return  # --help without a task adds them before the tasks are loaded

    def core_args() -> list[Argument]:
        return _described([*own(), *arguments(program.name)])

    of_tasks = program.task_args
    program.task_args = lambda: _described(of_tasks())  # type: ignore[method-assign]
    program.core_args = core_args  # type: ignore[method-assign]
    if hasattr(program, "core"):
        for argument in arguments(program.name):
            program.core[0].add_arg(argument)
    update = program.update_config

    def configure() -> None:
        """Keep Invoke from asking for the password: it would store it in its configuration, which --debug prints."""
        prompt = program.args[password.PROMPT]
        wanted, prompt.value = prompt.value, False
        update()
        prompt.value = wanted

    program.update_config = configure  # type: ignore[method-assign, assignment]


def _described(arguments: list[Argument]) -> list[Argument]:
    """Return options with the help in `HELP`, or that they are not supported and why, if they are in `UNSUPPORTED`."""
    for argument in arguments:
        name = long_name(argument)
        if why := UNSUPPORTED.get(name):
            argument.help = f"not supported: {why[0]}"
        else:
            argument.help = HELP.get(name, argument.help)
    return arguments


def long_name(argument: Argument) -> str:
    """Return the name of an option without its hyphens: `hosts` for -H."""
    return max(argument.names, key=len)


def arguments(program: str) -> list[Argument]:
    """Return our options in front of the task.

    Args:
        program: name of the program: `Fabric`, or another one for inv.
    """
    fab = program == "Fabric"
    named = {**NARROW, **RETRY, **BOTH} if fab else BOTH
    kinds: dict[str, type] = {"plain": bool}
    declared = (*CAREFUL, WAIT) if fab else (WAIT,)
    return [
        *(Argument(name=name, help=about, kind=kinds.get(name, str)) for name, about in named.items()),
        *map(Flag, declared),
    ]


def typed(core: Any, name: str) -> str:
    """Return the value of an option in front of the task, as text; empty: it was not given.

    Args:
        core: the command line as Invoke parsed it.
        name: name of the option.
    """
    args = core[0].args if core else {}
    value = args[name].value if name in args else None
    return "" if value is None or value is False else str(value)


def without_selection(words: Iterable[str]) -> Iterator[str]:
    """Yield the words of a command line of fab without the options that select hosts.

    Args:
        words: the words after the program's name.
    """
    rest = iter(words)
    for word in rest:
        if not (found := SELECTION.fullmatch(word)):
            yield word
        elif not found["value"]:
            next(rest, None)


def take_password(core: Any) -> None:
    """Get the sudo password as the options in front of the task say; see `password.take`.

    Args:
        core: the parsed command line.
    """
    file, command = (typed(core, name) for name in (password.FILE, password.COMMAND))
    password.take(prompt=bool(typed(core, password.PROMPT)), file=file, command=command)
