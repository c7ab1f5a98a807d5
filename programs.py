"""The programs inv and fab as ./bootstrap installs them: Invoke's and Fabric's own, with exit code 2 for any mistake.

They read the options in front of the first task before they load our tasks, and end with 1 for a mistake there.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, EIO, ENOSPC, EPIPE
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invoke import Program

GARBAGE = 200_000
"""Number of new objects after which Python searches for garbage. After each 700, its default, the searches take a tenth
of the CPU time of `fab`, though most objects that imports make never become garbage."""

UNWRITABLE = (EPIPE, ENOSPC, EDQUOT, EFBIG, EIO)
"""Errors of writing to a stream."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in `errors`, which may not have been imported by then."""


def main(name: str) -> None:
    """Run a program with the words of this process, and end the process with its exit code.

    Args:
        name: `fab` or `inv`.
    """
    gc.set_threshold(GARBAGE)
    _open_streams()
    try:
        with _output():
            _run(name)
    except (KeyboardInterrupt, SystemExit) as end:
        # Invoke ends with 1 after a Ctrl-C that none of our code handles, because no task has begun yet.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):
            raise
        print("error: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _open_streams() -> None:
    """Open the null device for each standard stream that was closed when this process was started.

    Otherwise, print writes to standard output what is meant for standard error, and the next file that is opened gets
    the number of the stream.
    """
    for name, mode in ("stdin", "r"), ("stdout", "w"), ("stderr", "w"):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)
            setattr(sys, name, os.fdopen(null, mode))


@contextmanager
def _output() -> Iterator[None]:
    """Within this context, end with an error if standard output, to which Invoke prints lists, cannot be written."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in UNWRITABLE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python tries again at the end
        if error.errno != EPIPE:
            print(f"error: the output cannot be written\n  {error}", file=sys.stderr)
        sys.exit(1)


def _run(name: str) -> None:
    with mock_later():
        if name == "fab":
            from fabric.main import program
        else:
            from invoke.main import program
    own_settings(program)
    refusing(program)
    helping(program)
    program.run()


@contextmanager
def mock_later() -> Iterator[None]:
    """Let Invoke, if it is imported in this context, import unittest.mock only when it uses it.

    It does so for `MockContext`, which is for tests; the import takes a tenth of the time in which `fab` starts.
    """
    name = "unittest.mock"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    sys.modules[name].Mock = _mock  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del sys.modules[name]


def _mock(*args: Any, **kwargs: Any) -> Any:
    from unittest.mock import Mock

    return Mock(*args, **kwargs)


def own_settings(program: Program) -> None:
    """Have a program read no settings of Invoke and Fabric but those in this repository.

    Those in /etc, the home directory and the environment are for the user's other projects. Ours would follow some of
    them in part, and end with a traceback if one is broken.

    Args:
        program: the program, which has not run yet.
    """

    def nothing(config: Any, merge: bool = True) -> None:
        """Load nothing."""

    elsewhere = ("load_base_conf_files", "load_runtime", "load_shell_env")
    program.config_class = type("Settings", (program.config_class,), dict.fromkeys(elsewhere, nothing))


def refusing(program: Program) -> None:
    """Have a program refuse a mistake in front of the first task as it refuses any other.

    Args:
        program: the program, which has not run yet.
    """
    from invoke.exceptions import CollectionNotFound, Exit, ParseError

    parse = program.parse_core

    def parse_core(argv: list[str] | None) -> None:
        mistake: Exception | None = None
        try:
            parse(argv)
        except (ParseError, ValueError) as error:  # ValueError: a word instead of a number
            mistake = error
        if mistake or _is_bare_command(program) or program.args.collection.value is not None:
            _errors(program).refuse_first(program, mistake)

    load = program.load_collection

    def load_collection() -> None:
        try:
            load()
        except Exit as error:
            if not isinstance(error.__context__, CollectionNotFound):
                raise
            _errors(program).refuse_place(program, Path(__file__).parent)

    cleanup = program.parse_cleanup

    def parse_cleanup() -> None:
        try:
            cleanup()
        except Exception as error:
            if not program.args.complete.value:
                raise
            raise Exit from error  # a line that is still being typed may be wrong in any way, such as an open quote

    program.parse_cleanup = parse_cleanup  # type: ignore[method-assign]
    program.parse_core = parse_core  # type: ignore[method-assign]
    program.load_collection = load_collection  # type: ignore[method-assign]


def _errors(program: Program) -> Any:
    """Import the module for mistakes, without a check of the command line, which loading our tasks would begin."""
    words, program.argv = program.argv, []
    from fabfile.cli import parse_errors

    program.argv = words
    return parse_errors


def _is_bare_command(program: Program) -> bool:
    """Return whether there is a command after --, but no task.

    Fabric would run it without loading our tasks and fabric.yaml, and therefore accept any host key.
    """
    core = program.core
    return bool(core.remainder and not core.unparsed and not program.args.complete.value)


def helping(program: Program) -> None:
    """Have --help list our options in front of the task, too.

    Invoke prints it before it loads our tasks, which add these options.

    Args:
        program: the program, which has not run yet.
    """
    show = program.print_help

    def print_help() -> None:
        from fabfile.cli import core_options

        core_options.extend(program)
        show()

    program.print_help = print_help  # type: ignore[method-assign]
