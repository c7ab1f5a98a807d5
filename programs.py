"""The programs inv and fab as ./bootstrap installs them: Invoke's and Fabric's own, with exit code 2 for any mistake.

They read the options in front of the first task before they load our tasks, and end with 1 for a mistake there.
"""

from __future__ import annotations

from invoke import Program
from invoke.exceptions import ParseError


def main(name: str) -> None:
    """Run a program with the words of this process, and end the process with its exit code.

    Args:
        name: `fab` or `inv`.
    """
    if name == "fab":
        from fabric.main import program
    else:
        from invoke.main import program
    refusing(program)
    program.run()


def refusing(program: Program) -> None:
    """Have a program refuse a mistake in front of the first task as it refuses any other.

    Args:
        program: the program, which has not run yet.
    """
    parse = program.parse_core

    def parse_core(argv: list[str] | None) -> None:
        try:
            parse(argv)
        except (ParseError, ValueError) as error:  # ValueError: a word instead of a number
            words, program.argv = program.argv, []  # while the program has words, loading our tasks checks them
            from fabfile import commandline

            program.argv = words
            commandline.refuse_first(program, error)

    program.parse_core = parse_core  # type: ignore[method-assign]
