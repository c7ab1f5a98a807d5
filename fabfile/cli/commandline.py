"""Check the command line before Invoke and Fabric do: a mistake is refused with exit code 2 and the nearest name.

Both parse the command line in two parts: first what is in front of the first task, and then the rest. In between, they
load our tasks, and that is when `check` is called. A mistake in the first part is reported by `parse_errors`.
"""

from __future__ import annotations

import difflib
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from invoke import Collection, Program
from invoke.exceptions import ParseError
from invoke.parser import Parser, ParserContext

from fabfile import console, events, inventory, ranges
from fabfile.cli.core_options import FILES, UNSUPPORTED, extend, long_name
from fabfile.cli.parse_errors import bare_command, near, of_a_number, of_an_option, program_name, refuse, unsupported
from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.host import Host
from fabfile.option import options

INV_ONLY = frozenset(
    {
        "inventory.export",
        "inventory.import",
        "lab.demo",
        "lab.down",
        "lab.list",
        "lab.shell",
        "lab.up",
        "runs.list",
        "runs.report",
        "runs.show",
        "ssh.close",
        "ssh.trust",
    }
)
"""Tasks that only inv has; a unit test compares this set with the tasks."""

SHOWS = ("help", "list", "version", "print-completion-script")
"""Options with which a program only shows something."""

FORMATS = ("flat", "nested", "json")
"""Values of --list-format."""


def running(module: str) -> Program | None:
    """Return the program that is parsing its command line and therefore loads these tasks; None: there is none.

    Args:
        module: `fabric` or `invoke`.
    """
    main = sys.modules.get(f"{module}.main")
    program = getattr(main, "program", None)
    return program if isinstance(program, Program) and program.argv else None


def check(program: Program, namespace: Collection) -> None:
    """Check a command line; with --json, a refusal is also published as the document.

    Args:
        program: the program, which has parsed the options in front of the first task.
        namespace: our tasks.

    Raises:
        Refused: a word is wrong; the hint has the nearest one that is right.
    """
    line = Line(program, namespace)
    if program.args.complete.value:
        console.only_print()
        return
    try:
        if program.core.remainder:
            raise bare_command(program)
        line.check()
    except Refused as error:
        refuse(program, error)
    # Invoke would parse it with all tasks. The help for a task named by --help needs them.
    if line.named and not program.args.help.value:
        program._make_parser = line.parser  # type: ignore[method-assign]


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

    def check(self) -> None:
        """See `check`."""
        parser = self.parser()
        try:
            core, *tasks = parser.parse_argv(list(self.words))
        except ParseError as error:
            self._refuse(error)
        except ValueError as error:
            raise of_a_number(parser.initial, self.words, str(error)) from error
        self._check_lists(tasks)
        self._check_values(core)
        self._check_shown(core, tasks)
        self._check_listing(core)
        for name in FILES:
            if file := self._value(core, name):
                events.check(file, f"--{name}")
        if self._only_shows(core):
            console.only_print()
        elif not tasks and len(self.program.argv) > 1:
            self._no_task()
        elif self.program.name == "Fabric":
            from fabfile.ssh import config  # not needed by inv

            config.check(self.program.args["ssh-config"].value)

    def _no_task(self) -> NoReturn:
        hosts = self.program.args["hosts"].value if "hosts" in self.program.args else None
        if hosts in self.contexts:
            what = f"-H takes hosts, and {shown(hosts)} is a task"
            raise Refused("no task is given", what, hint=f"fab -H hosts {hosts}")
        raise Refused("no task is given", "there are options, but no task", hint=f"all tasks: {self._name} --list")

    @property
    def _name(self) -> str:
        return program_name(self.program)

    def _value(self, core: ParserContext, name: str) -> Any:
        """Return the value of one of the program's own options, given in front of the tasks or after one."""
        return self.program.args[name].value or core.args[name].value

    def _only_shows(self, core: ParserContext) -> bool:
        return any(self._value(core, name) for name in SHOWS)

    def _check_lists(self, tasks: Iterable[ParserContext]) -> None:
        """Refuse a list option without a value: Invoke would ignore it, or take the next option as its value."""
        values: dict[str, list[str]] = {}
        for task in tasks:
            for flag, each in task.flags.items():
                if each.kind is list:
                    values.setdefault(flag, []).extend(each.value)
        typed = Counter(word.partition("=")[0] for word in self.words)
        swallowed = [flag for flag, found in values.items() if any(value.startswith("--") for value in found)]
        without = [flag for flag, found in values.items() if typed[flag] > len(found)]
        if wrong := [*swallowed, *without]:
            raise Refused(f"{wrong[0]} needs a value", "it may be given several times, each with one")

    def _check_values(self, core: ParserContext) -> None:
        """Refuse options in front of the tasks that are not supported, or have no value or one that is not possible.

        With an empty value, such as that of an unset variable, an option that selects hosts would mean all of them.
        """
        for argument in (*self.program.args.values(), *core.args.values()):
            name, typed = long_name(argument), argument.raw_value
            if typed is not None and name in UNSUPPORTED:
                raise unsupported(name)
            if isinstance(typed, str) and not typed.strip(" ,"):
                raise Refused(f"--{name}: an empty value", argument.help or "", hint=self._help(None))
            if typed is not None and name == "connect-timeout":
                options(Host)["connect_timeout"].read(str(typed))

    def _check_shown(self, core: ParserContext, tasks: Sequence[ParserContext]) -> None:
        """Refuse an option after a task with which nothing would be run, unless it asks for the help of the task.

        Args:
            core: the program's own options that were given after a task.
            tasks: the tasks.
        """
        words = any(each.positional and each.raw_value is not None for task in tasks for each in task.args.values())
        for name in (name for name in SHOWS if core.args[name].value and (words or name != "help")):
            alone = [self._name, f"--{name}", *([tasks[-1].name or ""] if name == "help" else [])]
            hint = self._quoted() or (self._help(None) if name == SHOWS[-1] else shlex.join(alone))
            raise Refused(f"--{name} is given after a task", "with it, nothing would be run", hint=hint)

    def _quoted(self) -> str:
        """Return the hint to make one word of a command that was typed after `run`; empty: there is none of several."""
        words, typed = self.words, self.program.argv[1:]
        at = words.index("run") + 1 if "run" in words else len(words)
        command = [word for word in words[at:] if word not in ("--command", "--json")]
        if len(command) < 2:
            return ""
        whole = f"{command[0]} {shlex.join(command[1:])}"
        line = [*typed[: len(typed) - len(words) + at], "--command", whole, *(["--json"] if "--json" in words else [])]
        return shlex.join([self._name, *line]) if self._accepts(line) else ""

    def _check_listing(self, core: ParserContext) -> None:
        """Refuse wrong values of --help, --list and --list-format: Invoke would end with a traceback or exit code 1."""
        if (task := self._value(core, "help")) and isinstance(task, str) and task not in self.contexts:
            self._unknown_task(task)
        if (root := self._value(core, "list")) and isinstance(root, str):
            known = list(self.namespace.collections)
            if root not in known:
                raise Refused(
                    f"no namespace {shown(root)}",
                    f"known: {', '.join(known)}",
                    hint=near(root, known) or f"{self._name} --list",
                )
        if (wanted := self._value(core, "list-format")) not in FORMATS:
            raise Refused(f"--list-format: {shown(wanted)} is not possible", " or ".join(FORMATS))

    def _refuse(self, error: ParseError) -> NoReturn:
        """Report an error of Invoke's parser in the words of this program."""
        says, context = str(error), error.context
        if found := re.fullmatch(r"No idea what (.*) is!", says, re.DOTALL):
            word = next((word for word in self._typed() if repr(word) == found[1]), found[1].strip("'\""))
            if word.startswith("-"):
                self._unknown_option(word, context)
            self._refuse_value(word, context)
            self._unknown_task(word)
        if refused := of_an_option(says, self._help(context)):
            raise refused
        if found := re.search(r"did not receive required positional arguments: (.*)", says):
            missing = ", ".join("--" + name for name in re.findall(r"'([\w-]+)'", found[1]))
            raise Refused(f"{context.name if context else 'the task'} needs {missing}", hint=self._help(context))
        raise Refused("the command line cannot be parsed", says, hint=self._help(context))

    def _typed(self) -> Iterable[str]:
        """Yield every word that Invoke's errors may name: it splits `--a=b` into two words, and `-abc` into three."""
        for word in self.words:
            yield word
            yield from word.partition("=")[::2]
            if re.fullmatch(r"-\w\w+", word):
                yield from (f"-{letter}" for letter in word[1:])

    def _help(self, context: ParserContext | None) -> str:
        return f"see {self._name} --help {context.name or ''}".rstrip() if context else f"see {self._name} --help"

    def _unknown_option(self, word: str, context: ParserContext | None) -> NoReturn:
        if not (context and context.name) and (hint := self._moved(word)):
            raise Refused(f"{word} is an option of a task", "it goes after the task", hint=hint)
        known = list(context.flags) if context else []
        core = list(self.program.initial_context.flags)
        own = [name for name in known if name.startswith("--")]
        task = context.name if context else None
        raise Refused(
            f"{task} has no option {shown(word)}" if task else f"no option {shown(word)}",
            f"it has {' '.join(own)}" if task and own else "",
            hint=(self._quoted() if task == "run" else "")
            or " ".join(filter(None, [near(word, own) or near(word, core), self._help(context)])),
        )

    def _moved(self, option: str) -> str:
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
        end = at + 1 + (task.flags[option].takes_value and not attached)
        moved = words[at].split("=", 1) if attached else words[at:end]
        line = [*words[:at], *words[end:], *moved]
        return shlex.join([self._name, *line]) if self._accepts(line) else self._help(task)

    def _accepts(self, words: list[str]) -> bool:
        """Return whether a command line is a single task with its options."""
        try:
            return len(self.parser().parse_argv(words)) == 2  # the first one is the program's own part
        except (ParseError, ValueError, Refused):
            return False

    def _refuse_value(self, word: str, context: ParserContext | None) -> None:
        """Refuse a value that Invoke takes for a task, because its option takes no value, or already has one."""
        for flag in context.flags if context else ():
            if f"{flag}={word}" in self.words and context and context.flags[flag].kind is bool:
                raise Refused(f"{flag} takes no value", f"{flag} alone turns it on", hint=self._help(context))
        typed = self.program.argv[1:]  # the whole line: the first of two may be in front of the tasks
        words = [each for word in typed for each in (word.split("=", 1) if word.startswith("--") else [word])]
        at = words.index(word) if word in words else 0
        flag = words[at - 1] if at else ""
        if context and flag in context.flags and words[:at].count(flag) > 1:
            raise Refused(f"{flag} is given twice", "it takes one value", hint="remove one of them")

    def _with_hosts(self, word: str) -> str:
        """Return the hint to put -H in front of the hosts with which a command line begins; empty: it does not."""
        if self.program.name != "Fabric" or self.program.args.hosts.value or self.words[:1] != [word]:
            return ""
        try:
            inventory.load().resolve(ranges.words(word))
        except Refused:
            return ""
        typed = self.program.argv[1:]
        front, rest = typed[: len(typed) - len(self.words)], self.words[1:]
        return shlex.join([self._name, *front, "-H", word, *rest]) if self._accepts(rest) else ""

    def _unknown_task(self, word: str) -> NoReturn:
        if word in INV_ONLY and self.program.name == "Fabric":
            raise Refused(f"{word} is a task of inv", "it runs on this controller", hint=f"see inv --help {word}")
        ours = word in self.namespace.collections
        if ours or any(name.startswith(f"{word}.") for name in INV_ONLY):
            hint = f"{self._name if ours else 'inv'} --list {word}"
            raise Refused(f"{shown(word)} is a namespace of tasks", hint=hint)
        if hint := self._with_hosts(word):
            raise Refused("no hosts are given", f"{shown(word)} is not a task", hint=hint)
        names = list(self.contexts)
        inner = [name for name in names if name.rpartition(".")[2] == word]
        found = inner or difflib.get_close_matches(word, names, n=1, cutoff=0.5)
        raise Refused(
            f"no task {shown(word)}",
            hint=f"did you mean {' or '.join(f'{self.usage} {name}' for name in found)}?"
            if found
            else self._quoted() or f"all tasks: {self._name} --list",
        )
