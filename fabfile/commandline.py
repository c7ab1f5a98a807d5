"""Check the command line before Invoke and Fabric do: a mistake is refused with exit code 2 and the nearest name.

Both parse the command line in two parts, and load the tasks of this program in between. A missing value of an option in
the first part, in front of the first task, is therefore reported by Invoke or Fabric.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NoReturn

from invoke import Argument, Collection, Program
from invoke.exceptions import ParseError
from invoke.parser import Parser, ParserContext

from fabfile import batches, console, events, outcome, password
from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.inventory import MOST_PARALLEL
from fabfile.option import Option
from fabfile.outcome import FleetReport, Report, Trouble
from fabfile.task import Flag

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
        "ssh.trust",
    }
)
"""Tasks that fab does not have; a unit test compares it with the tasks."""

FORMATS = ("flat", "nested", "json")
"""Of --list-format."""


NARROW = {
    "limit": "hosts to restrict -H to: names, groups, globs, ranges, @labels",
    "exclude": "hosts to leave out of -H",
}
RETRY = {"retry-from": "run of which to take only the hosts that did not end well, see inv runs.list; or last"}
"""Options of fab, in front of the task."""

FILES = {"events": "file to write events to, as JSON lines", "junit": "file to write outcomes to, as JUnit's XML"}
BOTH = {
    **FILES,
    "plain": "no live display on the terminal",
    password.FILE: "file with the sudo password, mode 0600",
    password.COMMAND: "command that prints the sudo password",
}
"""Options of both programs, in front of the task."""


CAREFUL = (
    Option("parallel", int, "hosts at a time; overrides hosts.toml", least=1, most=MOST_PARALLEL),
    Option("batches", str, "sizes of batches of hosts, such as 1,5,20%; the last one is repeated", check=batches.sizes),
    Option("max_fail", str, "hosts that may fail, such as 2 or 10%, before no more begin", check=batches.limit),
)
"""Options of fab, in front of the task, on how many hosts begin."""

WAIT = Option(
    "wait_lock", int, "seconds to wait for a lock that another run holds on the host", least=0, most=24 * 3600
)
"""An option of both programs, in front of the task."""


def extend(program: Program) -> None:
    """Give a program options of ours in front of the task; if it has read them once, it will do so again."""
    own = program.core_args
    program.core_args = lambda: [*own(), *arguments(program.name)]  # type: ignore[method-assign]
    if hasattr(program, "core"):
        for argument in arguments(program.name):
            program.core[0].add_arg(argument)
    update = program.update_config

    def configure() -> None:
        """Invoke would ask for a password itself, and keep it in its configuration, which --debug prints."""
        prompt = program.args[password.PROMPT]
        wanted, prompt.value = prompt.value, False
        update()
        prompt.value = wanted

    program.update_config = configure  # type: ignore[method-assign, assignment]


def arguments(program: str) -> list[Argument]:
    """Options of ours in front of the task."""
    fab = program == "Fabric"
    named = {**NARROW, **RETRY, **BOTH} if fab else BOTH
    kinds: dict[str, type] = {"plain": bool}
    declared = (*CAREFUL, WAIT) if fab else (WAIT,)
    return [
        *(Argument(name=name, help=about, kind=kinds.get(name, str)) for name, about in named.items()),
        *map(Flag, declared),
    ]


def typed(core: Any, name: str) -> str:
    """What was typed in front of the task; empty: nothing.

    Args:
        core: what Invoke made of the command line.
        name: of the option.
    """
    args = core[0].args if core else {}
    value = args[name].value if name in args else None
    return "" if value is None or value is False else str(value)


def take_password(core: Any) -> None:
    """Get the sudo password as the options in front of the task say; see `password.take`.

    Args:
        core: the parsed command line.
    """
    file, command = (typed(core, name) for name in (password.FILE, password.COMMAND))
    password.take(prompt=bool(typed(core, password.PROMPT)), file=file, command=command)


def running(door: str) -> Program | None:
    """The program that is reading its command line and loads these tasks for that; None in a test.

    Args:
        door: `fabric` or `invoke`.
    """
    module = sys.modules.get(f"{door}.main")
    program = getattr(module, "program", None)
    return program if isinstance(program, Program) and program.argv else None


def check(program: Program, namespace: Collection) -> None:
    """Refuse a command line that cannot be meant.

    Raises:
        Refused: with the word that is wrong, and the nearest that is right.
    """
    line = Line(program, namespace)
    if program.args.complete.value:
        console.only_print()
        return
    try:
        line.check()
    except Refused as error:
        if "--json" in program.argv:
            _document(program, error)
        raise


def _document(program: Program, error: Refused) -> None:
    """Standard output is one document whatever happens."""
    console.keep_for_document()
    trouble = Trouble(error.what, error.details, error.hint)
    fleet = program.name == "Fabric"
    report = FleetReport(2, {}, trouble) if fleet else Report(status="refused", error=trouble, exit_code=2)
    outcome.publish(report)


class Line:
    """One command line, and what it is read with."""

    def __init__(self, program: Program, namespace: Collection) -> None:
        extend(program)
        self.program, self.namespace = program, namespace
        self.words: list[str] = program.core.unparsed
        self.contexts: dict[str, ParserContext] = {
            name: context for context in namespace.to_contexts() for name in (context.name or "", *context.aliases)
        }
        self.door = "fab -H HOSTS" if program.name == "Fabric" else "inv"

    def check(self) -> None:
        """See `check`."""
        # The parser copies every context that it gets.
        named = {name: self.contexts[name] for name in self.words if name in self.contexts}
        parser = Parser(initial=self.program.initial_context, contexts=named.values())
        try:
            core, *tasks = parser.parse_argv(list(self.words))
        except ParseError as error:
            self._refuse(error)
        except ValueError as error:
            self._refuse_number(parser.initial)
            raise Refused("the command line cannot be parsed", str(error)) from error
        self._check_listing(core)
        for name in FILES:
            if file := self._value(core, name):
                events.check(file, f"--{name}")
        if self._only_shows(core):
            console.only_print()
        elif not tasks and len(self.program.argv) > 1:
            self._no_task()
        elif self.program.name == "Fabric":
            from fabfile.ssh import config  # inv has no use for it

            config.check(self.program.args["ssh-config"].value)

    def _no_task(self) -> NoReturn:
        hosts = self.program.args["hosts"].value if "hosts" in self.program.args else None
        if hosts in self.contexts:
            what = f"-H takes hosts, and {shown(hosts)} is a task"
            raise Refused("no task is given", what, hint=f"fab -H hosts {hosts}")
        raise Refused("no task is given", "there are options, but no task", hint=f"all tasks: {self._call} --list")

    @property
    def _call(self) -> str:
        return self.door.split()[0]

    def _value(self, core: ParserContext, name: str) -> Any:
        """An option of the program's own, in front of the tasks or behind one."""
        return self.program.args[name].value or core.args[name].value

    def _only_shows(self, core: ParserContext) -> bool:
        return any(self._value(core, name) for name in ("help", "list", "version", "print-completion-script"))

    def _check_listing(self, core: ParserContext) -> None:
        """What Invoke ends with a traceback or 1 for."""
        if (task := self._value(core, "help")) and isinstance(task, str) and task not in self.contexts:
            self._unknown_task(task)
        if (root := self._value(core, "list")) and isinstance(root, str):
            known = list(self.namespace.collections)
            if root not in known:
                raise Refused(
                    f"no namespace {shown(root)}", f"known: {', '.join(known)}", hint=_near(root, known) or "inv --list"
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
        if found := re.search(r"<\w+: ([\w-]+)", says):
            flag = "--" + found[1].replace("_", "-")
            takes = "needs a value" if "needed value" in says else "takes no value"
            raise Refused(f"{flag} {takes}", hint=self._help(context))
        if found := re.search(r"did not receive required positional arguments: (.*)", says):
            missing = ", ".join("--" + name for name in re.findall(r"'([\w-]+)'", found[1]))
            raise Refused(f"{context.name if context else 'the task'} needs {missing}", hint=self._help(context))
        raise Refused("the command line cannot be parsed", says, hint=self._help(context))

    def _typed(self) -> Iterable[str]:
        """Every word that Invoke may speak of: `--a=b` is two to it, `-abc` three."""
        for word in self.words:
            yield word
            yield from word.partition("=")[::2]
            if re.fullmatch(r"-\w\w+", word):
                yield from (f"-{letter}" for letter in word[1:])

    def _help(self, context: ParserContext | None) -> str:
        return f"see {self._call} --help {context.name or ''}".rstrip() if context else f"see {self._call} --help"

    def _unknown_option(self, word: str, context: ParserContext | None) -> NoReturn:
        known = list(context.flags) if context else []
        core = list(self.program.initial_context.flags)
        own = [name for name in known if name.startswith("--")]
        task = context.name if context else None
        raise Refused(
            f"{task} has no option {shown(word)}" if task else f"no option {shown(word)}",
            f"it has {' '.join(own)}" if task and own else "",
            hint=" ".join(filter(None, [_near(word, own) or _near(word, core), self._help(context)])),
        )

    def _refuse_value(self, word: str, context: ParserContext | None) -> None:
        """A value that Invoke takes for a task, as its option takes none, or has one already."""
        for flag in context.flags if context else ():
            if f"{flag}={word}" in self.words and context and context.flags[flag].kind is bool:
                raise Refused(f"{flag} takes no value", f"{flag} alone turns it on", hint=self._help(context))
        typed = self.program.argv[1:]  # not only what is left: the first of two may be in front of the tasks
        words = [each for word in typed for each in (word.split("=", 1) if word.startswith("--") else [word])]
        at = words.index(word) if word in words else 0
        flag = words[at - 1] if at else ""
        if context and flag in context.flags and words[:at].count(flag) > 1:
            raise Refused(f"{flag} is given twice", "it takes one value", hint="remove one of them")

    def _unknown_task(self, word: str) -> NoReturn:
        if word in INV_ONLY and self.program.name == "Fabric":
            raise Refused(f"{word} is a task of inv", "it runs on this controller", hint=f"see inv --help {word}")
        names = list(self.contexts)
        inner = [name for name in names if name.rpartition(".")[2] == word]
        near = inner or difflib.get_close_matches(word, names, n=1, cutoff=0.5)
        raise Refused(
            f"no task {shown(word)}",
            hint=f"did you mean {' or '.join(f'{self.door} {name}' for name in near)}?"
            if near
            else f"all tasks: {self._call} --list",
        )

    def _refuse_number(self, core: ParserContext | None) -> None:
        """An option of the program's own that is a number, as Invoke ends with a traceback there."""
        flags = core.flags if core else {}
        words = [each for word in self.words for each in (word.split("=", 1) if word.startswith("--") else [word])]
        for flag, value in pairwise(words):
            if flag in flags and flags[flag].kind is int and not re.fullmatch(r"[+-]?\d+", value):
                raise Refused(f"{flag}: {shown(value)} is not a whole number")


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6) if len(word) > 2 else []
    return f"did you mean {near[0]}?" if near else ""
