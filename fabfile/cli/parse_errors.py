"""Mistakes that Invoke's parser finds in a command line, or does not find, as errors in the words of this program."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from invoke import Program
from invoke.exceptions import ParseError
from invoke.parser import ParserContext

from fabfile import console
from fabfile.cli.core_options import UNSUPPORTED
from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.output import json_document
from fabfile.output.outcome import FleetReport, Report, Trouble


def program_name(program: Program) -> str:
    """Return the name under which a program is started."""
    return "fab" if program.name == "Fabric" else "inv"


def refuse_first(program: Program, error: Exception | None) -> NoReturn:
    """Refuse a mistake in front of the first task, in the words of this program.

    Args:
        program: the program, which has not parsed more than that part.
        error: the error of Invoke's parser; a ValueError: a value is not a number; None: there is a command after --
            instead of a task, or an option that selects other tasks.

    Raises:
        Refused: always.
    """
    says = str(error)
    refused = of_an_option(says, f"see {program_name(program)} --help") if isinstance(error, ParseError) else None
    if not refused and error:
        refused = of_a_number(program.initial_context, program.argv, says)
    refuse(program, refused or (bare_command(program) if program.core.remainder else unsupported("collection")))


def refuse_place(program: Program, home: Path) -> NoReturn:
    """Refuse to run where Invoke finds no tasks.

    Args:
        program: the program.
        home: the directory of the tasks.

    Raises:
        Refused: always.
    """
    start = program.args["search-root"].value or Path.cwd()
    hint = f"cd {shlex.quote(str(home))}, then run it again"
    refuse(program, Refused("there are no tasks here", f"in {start} and the directories above it", hint=hint))


def refuse(program: Program, error: Refused) -> NoReturn:
    """Raise an error; with --json, it is also published as the document."""
    if "--json" in program.argv:
        document(program, error)
    raise error


def unsupported(name: str) -> Refused:
    """Return the refusal of an option in `UNSUPPORTED`."""
    why, hint = UNSUPPORTED[name]
    return Refused(f"--{name} is not supported", why, hint=hint)


def bare_command(program: Program) -> Refused:
    """Return the refusal of a command after --, which Fabric and Invoke would treat differently from a task."""
    hosts = program.args["hosts"].value if "hosts" in program.args else None
    words = ["fab", "-H", hosts or "HOSTS"] if program_name(program) == "fab" else ["inv"]
    hint = shlex.join([*words, "run", "--command", program.core.remainder])
    return Refused("a bare command after -- is not a task", hint=hint)


def document(program: Program, error: Refused) -> None:
    """Publish a refusal as the document of --json, because standard output is one document in any case."""
    console.keep_for_document()
    trouble = Trouble(error.what, error.details, error.hint)
    fleet = program.name == "Fabric"
    report = FleetReport(2, {}, trouble) if fleet else Report(status="refused", error=trouble, exit_code=2)
    json_document.publish(report)


def of_a_number(core: ParserContext | None, words: Iterable[str], says: str) -> Refused:
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


def of_an_option(says: str, hint: str) -> Refused | None:
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


def near(word: str, known: Iterable[str]) -> str:
    """Return a question with the known word that is most like another one; empty: none is."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6) if len(word) > 2 else []
    return f"did you mean {found[0]}?" if found else ""
