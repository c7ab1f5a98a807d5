"""Check the command line before Invoke and Fabric do: a mistake is refused with exit code 2 and the nearest name.

Both parse the command line in two parts: first what is in front of the first task, and then the rest. In between, they
load our tasks, and that is when `check` is called. A mistake in the first part is reported by `refuse_first`.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NoReturn

from invoke import Collection, Program
from invoke.exceptions import ParseError
from invoke.parser import Parser, ParserContext

from fabfile import console, events, outcome
from fabfile.console import shown
from fabfile.core_options import FILES, extend
from fabfile.errors import Refused
from fabfile.outcome import FleetReport, Report, Trouble

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

FORMATS = ("flat", "nested", "json")
"""Values of --list-format."""


def running(door: str) -> Program | None:
    """Return the program that is parsing its command line and therefore loads these tasks; None: there is none.

    Args:
        door: `fabric` or `invoke`.
    """
    module = sys.modules.get(f"{door}.main")
    program = getattr(module, "program", None)
    return program if isinstance(program, Program) and program.argv else None


def _door(program: Program) -> str:
    return "fab" if program.name == "Fabric" else "inv"


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
        line.check()
    except Refused as error:
        if "--json" in program.argv:
            _document(program, error)
        raise
    # Invoke would parse it with all tasks. The help for a task named by --help needs them.
    if line.named and not program.args.help.value:
        program._make_parser = line.parser  # type: ignore[method-assign]


def refuse_first(program: Program, error: ParseError | ValueError) -> NoReturn:
    """Refuse a mistake in front of the first task, in the words of this program.

    Args:
        program: the program, which has not parsed more than that part.
        error: the error of Invoke's parser; ValueError: a value is not a number.

    Raises:
        Refused: always.
    """
    says = str(error)
    refused = _of_an_option(says, f"see {_door(program)} --help") if isinstance(error, ParseError) else None
    refused = refused or _of_a_number(program.initial_context, program.argv, says)
    if "--json" in program.argv:
        _document(program, refused)
    raise refused


def _document(program: Program, error: Refused) -> None:
    """Publish a refusal as the document of --json, because standard output is one document in any case."""
    console.keep_for_document()
    trouble = Trouble(error.what, error.details, error.hint)
    fleet = program.name == "Fabric"
    report = FleetReport(2, {}, trouble) if fleet else Report(status="refused", error=trouble, exit_code=2)
    outcome.publish(report)


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
        self.door = "fab -H HOSTS" if _door(program) == "fab" else "inv"

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
            raise _of_a_number(parser.initial, self.words, str(error)) from error
        self._check_lists(tasks)
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
        raise Refused("no task is given", "there are options, but no task", hint=f"all tasks: {self._call} --list")

    @property
    def _call(self) -> str:
        return _door(self.program)

    def _value(self, core: ParserContext, name: str) -> Any:
        """Return the value of one of the program's own options, given in front of the tasks or after one."""
        return self.program.args[name].value or core.args[name].value

    def _only_shows(self, core: ParserContext) -> bool:
        return any(self._value(core, name) for name in ("help", "list", "version", "print-completion-script"))

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

    def _check_listing(self, core: ParserContext) -> None:
        """Refuse wrong values of --help, --list and --list-format: Invoke would end with a traceback or exit code 1."""
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
        if refused := _of_an_option(says, self._help(context)):
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


def _of_a_number(core: ParserContext | None, words: Iterable[str], says: str) -> Refused:
    """Return the refusal of one of the program's own options that needs a number, but has another value.

    Args:
        core: the program's own options.
        words: the command line.
        says: the message of the conversion that failed.
    """
    flags = core.flags if core else {}
    words = [each for word in words for each in (word.split("=", 1) if word.startswith("--") else [word])]
    for flag, value in pairwise(words):
        if flag in flags and flags[flag].kind is int and not re.fullmatch(r"[+-]?\d+", value):
            return Refused(f"{flag}: {shown(value)} is not a whole number")
    return Refused("the command line cannot be parsed", says)


def _of_an_option(says: str, hint: str) -> Refused | None:
    """Return the refusal of an option without its value, or with one that it does not take; None: another mistake.

    Args:
        says: the message of Invoke's parser.
        hint: the hint of the refusal.
    """
    found = re.search(r"<\w+: ([\w-]+)(?: \(([\w-]+))?", says)
    if not found:
        return None
    takes = "needs a value" if "needed value" in says else "takes no value"
    name = max(filter(None, found.groups()), key=len)  # -H is also --hosts
    return Refused(f"--{name.replace('_', '-')} {takes}", hint=hint)


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6) if len(word) > 2 else []
    return f"did you mean {near[0]}?" if near else ""
