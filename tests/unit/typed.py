"""Hints as an operator would type them: every command in one is parsed as invoke and fabric would."""

from __future__ import annotations

import functools
import re
import shlex

from invoke import Program
from invoke.exceptions import ParseError
from invoke.parser import Parser, ParserContext

import fabfile
import tasks

FRONT = re.compile(r"(?<![\w./-])(?:inv|fab -H [\w.,-]+)(?: --dry)?(?= )")
"""What stands before a task in a command."""

WORD = r"(?:'[^']*'|[^\s;,:'()]+)"
TAKES_A_WORD = r"ssh\.trust"
"""Tasks whose hints give an option without its flag."""

COMMAND = re.compile(
    rf"{FRONT.pattern} (?:{TAKES_A_WORD} {WORD}|[a-z][a-z.]*)(?: --[a-z-]+(?: (?!-){WORD})?)*",
)

HELP = re.compile(r"(?<![\w./-])(?:inv|fab) --help ([a-z][a-z.]*[a-z])")
"""A command that shows the options of a task."""

NAMES = sorted(fabfile.namespace().task_names, key=len, reverse=True)
TASK = re.compile(rf"(?<![\w./-])({'|'.join(re.escape(name) for name in NAMES if '.' in name)})(?![\w/-]|\.\w)")


def commands(hint: str) -> list[str]:
    """List our commands in a hint."""
    return [match[0] for match in COMMAND.finditer(hint)]


HOSTS_OWN = re.compile(
    r"(?<![\w/.-])(?:systemctl|dmsetup|(?:lv|vg)(?:change|rename)|mv|mkdir|truncate|mount|(?:apt-get|dnf) remove) "
)
"""The beginning of shell that is to be typed on a host."""


def misplaced(hint: str) -> list[str]:
    """List the shell in a hint that has commands of fab and does not say that the shell is to be typed on the host."""
    found = []
    for line in hint.splitlines() if "fab -H " in hint else []:
        ends = [0, *(match.end() for match in COMMAND.finditer(line))]
        for match in HOSTS_OWN.finditer(line):
            before = line[max(end for end in ends if end <= match.start()) : match.start()]
            if "on the host: " not in before:
                found.append(f"{line[match.start() :]}: on which computer?")
    return found


def wrong(hint: str) -> list[str]:
    """List what is wrong with a hint: a task without the words before it, or a command that would not be accepted."""
    helps = [match[1] for match in HELP.finditer(hint) if match[1] not in tasks.ns.task_names]
    left = COMMAND.sub("", HELP.sub("", hint))
    bare = [f"{name} is not a command to type" for name in (*helps, *(match[1] for match in TASK.finditer(left)))]
    return bare + misplaced(hint) + [why for command in commands(hint) if (why := _refused(command))]


@functools.cache
def _contexts(front: str) -> tuple[ParserContext, ...]:
    return tuple((tasks.ns if front == "inv" else fabfile.ns).to_contexts())


@functools.cache
def _refused(command: str) -> str:
    words = shlex.split(command)
    rest = words[1:] if words[0] == "inv" else words[3:]
    # The parser copies every context deeply, and looks only at those that a word names: of a hundred, it gets these.
    named = [context for context in _contexts(words[0]) if {context.name, *context.aliases} & set(rest)]
    core = ParserContext(args=Program().core_args())
    try:
        (_, *called) = Parser(contexts=named, initial=core).parse_argv(rest)
    except ParseError as error:
        return f"{command}: {error}"
    return f"{command}: {len(called)} tasks" if len(called) != 1 else ""
