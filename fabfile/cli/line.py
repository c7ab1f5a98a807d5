"""A command line: its words, the tasks by which it is parsed, and what it may have been meant to be."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Any

from invoke import Collection, Program
from invoke.exceptions import ParseError
from invoke.parser import Parser, ParserContext

from fabfile import inventory, ranges
from fabfile.cli.core_options import extend
from fabfile.cli.parse_errors import program_name
from fabfile.errors import Refused


class Line:
    """A command line, with the program and the tasks by which it is parsed."""

    def __init__(self, program: Program, namespace: Collection) -> None:
        extend(program)
        self.program, self.namespace = program, namespace
        self.words: list[str] = program.core.unparsed
        self.contexts: dict[str, ParserContext] = {
            name: context for context in namespace.to_contexts() for name in (context.name or "", *context.aliases)
        }
        self.named = {found.name: found for word in self.words if (found := self.contexts.get(word))}
        self.usage = "fab -H HOSTS" if program.name == "Fabric" else "inv"

    def parser(self) -> Parser:
        """Make a parser of only the tasks that are named: it copies every context that it gets, which takes time."""
        return Parser(initial=self.program.initial_context, contexts=self.named.values())

    @property
    def name(self) -> str:
        """The name of the program, as it is typed."""
        return program_name(self.program)

    def typed(self) -> Iterable[str]:
        """Yield every word that Invoke's errors may name: it splits `--a=b` into two words, and `-abc` into three."""
        for word in self.words:
            yield word
            yield from word.partition("=")[::2]
            if re.fullmatch(r"-\w\w+", word):
                yield from (f"-{letter}" for letter in word[1:])

    def value(self, core: ParserContext, name: str) -> Any:
        """Return the value of one of the program's own options, given in front of the tasks or after one."""
        return self.program.args[name].value or core.args[name].value

    def help(self, context: ParserContext | None) -> str:
        """Return the hint to read the help of a task; None: that of the program."""
        return f"see {self.name} --help {context.name or ''}".rstrip() if context else f"see {self.name} --help"

    def accepts(self, words: list[str]) -> bool:
        """Return whether a command line is a single task with its options."""
        try:
            return len(self.parser().parse_argv(words)) == 2  # the first one is the program's own part
        except (ParseError, ValueError, Refused):
            return False

    def quoted(self) -> str:
        """Return the hint to make one word of a command that was typed after `run`; empty: there is none of several."""
        words, typed = self.words, self.program.argv[1:]
        at = words.index("run") + 1 if "run" in words else len(words)
        command = [word for word in words[at:] if word not in ("--command", "--json")]
        if len(command) < 2:
            return ""
        whole = f"{command[0]} {shlex.join(command[1:])}"
        line = [*typed[: len(typed) - len(words) + at], "--command", whole, *(["--json"] if "--json" in words else [])]
        return shlex.join([self.name, *line]) if self.accepts(line) else ""

    def moved(self, option: str) -> str:
        """Return the hint for an option that is in front of its task; empty: none of the tasks has it.

        Args:
            option: the option, without a value.
        """
        task = next((name for name in self.named.values() if option in name.flags), None)
        if not task:
            return ""
        words = self.program.argv[1:]
        at = next(at for at, word in enumerate(words) if word.partition("=")[0] == option)
        attached = "=" in words[at]
        end = at + 2 if task.flags[option].takes_value and not attached else at + 1
        moved = words[at].split("=", 1) if attached else words[at:end]
        line = [*words[:at], *words[end:], *moved]
        return shlex.join([self.name, *line]) if self.accepts(line) else self.help(task)

    def with_hosts(self, word: str) -> str:
        """Return the hint to put -H in front of the hosts with which a command line begins; empty: it does not."""
        if self.program.name != "Fabric" or self.program.args.hosts.value or self.words[:1] != [word]:
            return ""
        try:
            inventory.load().resolve(ranges.words(word))
        except Refused:
            return ""
        typed = self.program.argv[1:]
        front, rest = typed[: len(typed) - len(self.words)], self.words[1:]
        return shlex.join([self.name, *front, "-H", word, *rest]) if self.accepts(rest) else ""
