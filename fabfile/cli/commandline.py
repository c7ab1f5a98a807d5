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
from typing import NoReturn

from invoke import Collection, Program
from invoke.exceptions import ParseError
from invoke.parser import ParserContext

from fabfile import console, events
from fabfile.cli.core_options import FILES, HELP, UNSUPPORTED, long_name
from fabfile.cli.line import Line
from fabfile.cli.parse_errors import bare_command, near, of_a_number, of_an_option, refuse, unsupported
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
        check_line(line)
    except Refused as error:
        refuse(program, error)
    # Invoke would parse it with all tasks. The help for a task named by --help needs them.
    if line.named and not program.args.help.value:
        program._make_parser = line.parser  # type: ignore[method-assign]


def check_line(line: Line) -> None:
    """Check the words of a command line; see `check`."""
    parser = line.parser()
    try:
        core, *tasks = parser.parse_argv(list(line.words))
    except ParseError as error:
        _refuse(line, error)
    except ValueError as error:
        raise of_a_number(parser.initial, line.words, str(error)) from error
    _check_lists(line, tasks)
    _check_values(line, core)
    _check_shown(line, core, tasks)
    _check_listing(line, core)
    for name in FILES:
        if file := line.value(core, name):
            events.check(file, f"--{name}")
    if _only_shows(line, core):
        console.only_print()
    elif not tasks and len(line.program.argv) > 1:
        _no_task(line)
    elif line.program.name == "Fabric":
        from fabfile.ssh import config  # not needed by inv

        config.check(line.program.args["ssh-config"].value)


def _no_task(line: Line) -> NoReturn:
    hosts = line.program.args["hosts"].value if "hosts" in line.program.args else None
    if hosts in line.contexts:
        what = f"-H takes hosts, and {shown(hosts)} is a task"
        raise Refused("no task is given", what, hint=f"fab -H hosts {hosts}")
    raise Refused("no task is given", "there are options, but no task", hint=f"all tasks: {line.name} --list")


def _only_shows(line: Line, core: ParserContext) -> bool:
    return any(line.value(core, name) for name in SHOWS)


def _check_lists(line: Line, tasks: Iterable[ParserContext]) -> None:
    """Refuse a list option without a value: Invoke would ignore it, or take the next option as its value."""
    values: dict[str, list[str]] = {}
    for task in tasks:
        for flag, each in task.flags.items():
            if each.kind is list:
                values.setdefault(flag, []).extend(each.value)
    typed = Counter(word.partition("=")[0] for word in line.words)
    swallowed = [flag for flag, found in values.items() if any(value.startswith("--") for value in found)]
    without = [flag for flag, found in values.items() if typed[flag] > len(found)]
    if wrong := [*swallowed, *without]:
        raise Refused(f"{wrong[0]} needs a value", "it may be given several times, each with one")


def _check_values(line: Line, core: ParserContext) -> None:
    """Refuse options in front of the tasks that are not supported, or have no value or one that is not possible.

    With an empty value, such as that of an unset variable, an option that selects hosts would mean all of them.
    """
    for argument in (*line.program.args.values(), *core.args.values()):
        name, typed = long_name(argument), argument.raw_value
        if typed is not None and name in UNSUPPORTED:
            raise unsupported(name)
        if isinstance(typed, str) and not typed.strip(" ,"):
            raise Refused(f"--{name}: an empty value", HELP.get(name, argument.help or ""), hint=line.help(None))
        if typed is not None and name == "connect-timeout":
            options(Host)["connect_timeout"].read(str(typed))


def _check_shown(line: Line, core: ParserContext, tasks: Sequence[ParserContext]) -> None:
    """Refuse an option after a task with which nothing would be run, unless it asks for the help of the task.

    Args:
        core: the program's own options that were given after a task.
        tasks: the tasks.
    """
    words = any(each.positional and each.raw_value is not None for task in tasks for each in task.args.values())
    for name in (name for name in SHOWS if core.args[name].value and (words or name != "help")):
        alone = [line.name, f"--{name}", *([tasks[-1].name or ""] if name == "help" else [])]
        hint = line.quoted() or (line.help(None) if name == SHOWS[-1] else shlex.join(alone))
        raise Refused(f"--{name} is given after a task", "with it, nothing would be run", hint=hint)


def _check_listing(line: Line, core: ParserContext) -> None:
    """Refuse wrong values of --help, --list and --list-format: Invoke would end with a traceback or exit code 1."""
    if (task := line.value(core, "help")) and isinstance(task, str) and task not in line.contexts:
        _unknown_task(line, task)
    if (root := line.value(core, "list")) and isinstance(root, str):
        known = list(line.namespace.collections)
        if root not in known:
            raise Refused(
                f"no namespace {shown(root)}",
                f"known: {', '.join(known)}",
                hint=near(root, known) or f"{line.name} --list",
            )
    if (wanted := line.value(core, "list-format")) not in FORMATS:
        raise Refused(f"--list-format: {shown(wanted)} is not possible", " or ".join(FORMATS))


def _refuse(line: Line, error: ParseError) -> NoReturn:
    """Report an error of Invoke's parser in the words of this program."""
    says, context = str(error), error.context
    if found := re.fullmatch(r"No idea what (.*) is!", says, re.DOTALL):
        word = next((word for word in line.typed() if repr(word) == found[1]), found[1].strip("'\""))
        if word.startswith("-"):
            _unknown_option(line, word, context)
        _refuse_value(line, word, context)
        _unknown_task(line, word)
    if refused := of_an_option(says, line.help(context)):
        raise refused
    if found := re.search(r"did not receive required positional arguments: (.*)", says):
        missing = ", ".join("--" + name for name in re.findall(r"'([\w-]+)'", found[1]))
        raise Refused(f"{context.name if context else 'the task'} needs {missing}", hint=line.help(context))
    raise Refused("the command line cannot be parsed", says, hint=line.help(context))


def _unknown_option(line: Line, word: str, context: ParserContext | None) -> NoReturn:
    if not (context and context.name) and (hint := line.moved(word)):
        raise Refused(f"{word} is an option of a task", "it goes after the task", hint=hint)
    known = list(context.flags) if context else []
    core = list(line.program.initial_context.flags)
    own = [name for name in known if name.startswith("--")]
    task = context.name if context else None
    raise Refused(
        f"{task} has no option {shown(word)}" if task else f"no option {shown(word)}",
        f"it has {' '.join(own)}" if task and own else "",
        hint=(line.quoted() if task == "run" else "")
        or " ".join(filter(None, [near(word, own) or near(word, core), line.help(context)])),
    )


def _refuse_value(line: Line, word: str, context: ParserContext | None) -> None:
    """Refuse a value that Invoke takes for a task, because its option takes no value, or already has one."""
    for flag in context.flags if context else ():
        if f"{flag}={word}" in line.words and context and context.flags[flag].kind is bool:
            raise Refused(f"{flag} takes no value", f"{flag} alone turns it on", hint=line.help(context))
    typed = line.program.argv[1:]  # the whole line: the first of two may be in front of the tasks
    words = [each for word in typed for each in (word.split("=", 1) if word.startswith("--") else [word])]
    at = words.index(word) if word in words else 0
    flag = words[at - 1] if at else ""
    if context and flag in context.flags and words[:at].count(flag) > 1:
        raise Refused(f"{flag} is given twice", "it takes one value", hint="remove one of them")


def _unknown_task(line: Line, word: str) -> NoReturn:
    if word in INV_ONLY and line.program.name == "Fabric":
        raise Refused(f"{word} is a task of inv", "it runs on this controller", hint=f"see inv --help {word}")
    ours = word in line.namespace.collections
    if ours or any(name.startswith(f"{word}.") for name in INV_ONLY):
        hint = f"{line.name if ours else 'inv'} --list {word}"
        raise Refused(f"{shown(word)} is a namespace of tasks", hint=hint)
    if hint := line.with_hosts(word):
        raise Refused("no hosts are given", f"{shown(word)} is not a task", hint=hint)
    names = list(line.contexts)
    inner = [name for name in names if name.rpartition(".")[2] == word]
    found = inner or difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    raise Refused(
        f"no task {shown(word)}",
        hint=f"did you mean {' or '.join(f'{line.usage} {name}' for name in found)}?"
        if found
        else line.quoted() or f"all tasks: {line.name} --list",
    )
