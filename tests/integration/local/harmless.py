"""inv and fab with tasks that only write to a directory: `python -m tests.integration.local.harmless fab -H …`.

`steps --directory DIR` has three steps that each create a file DIR/HOST.STEP within the seconds in DIR/seconds;
`look --directory DIR` is a task that changes nothing and takes as long; `visit --directory DIR` is another, which notes
in DIR/log when it runs, and fails on a host if there is a file DIR/HOST.fails.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fabric import Config
from fabric.main import Fab
from invoke import Collection, Context, Program

from fabfile.cli import core_options, fab_executor, inv_executor
from fabfile.cli.task import task
from fabfile.converge import converge
from fabfile.facts import Facts
from fabfile.facts.query import Query
from fabfile.option import about
from fabfile.plan import Change, Command, Step
from fabfile.remote import target
from fabfile.tasks.root import doctor, run, status

NAMES = ("first", "second", "third")

Directory = Annotated[str, about("directory of the files that are made")]


def _step(directory: Path, host: str, name: str) -> Step:
    path = directory / f"{host}.{name}"
    script = f"echo $$ >{path}.pid; sleep $(cat {directory}/seconds); [ -e {path} ] || echo {name} >{path}"

    def plan(have: Facts) -> list[Change]:
        return [] if str(path) in have.files else [Command(f"make {name}", script)]

    return Step(name, plan, Query(files=(str(path),)))


def _host(c: Context) -> str:
    return str(c.host_entry.name) if hasattr(c, "host_entry") else "here"


@task(diff=True)
def steps(c: Context, directory: Directory) -> None:
    """Run three steps, each of which writes a file."""
    converge(c, [_step(Path(directory), _host(c), name) for name in NAMES])


@task(read_only=True)
def look(c: Context, directory: Directory) -> None:
    """Run for a while without changing anything."""
    target.sh(c, f"echo $$ >{directory}/looks; sleep $(cat {directory}/seconds)", "looking", read_only=True)


@task(read_only=True)
def visit(c: Context, directory: Directory) -> None:
    """A look that is written down."""
    host, log = _host(c), f"{directory}/log"
    script = f"echo begin {host} >>{log}; sleep $(cat {directory}/seconds); echo end {host} >>{log}"
    target.sh(c, f"{script}; [ ! -e {directory}/{host}.fails ]", "visiting", read_only=True)


def start(name: str, words: Sequence[str], tasks: Collection) -> None:
    """Run inv or fab with other tasks, and end the process.

    Args:
        name: `inv` or `fab`.
        words: the words after the program's name.
        tasks: the tasks.
    """
    if name == "fab":
        program = Fab(
            name="Fabric", namespace=tasks, executor_class=fab_executor.Executor, config_class=Config, version="test"
        )
    else:
        program = Program(name="Invoke", namespace=tasks, executor_class=inv_executor.Executor, version="test")
    core_options.extend(program)
    program.run([name, *words])


def main() -> None:
    """Run inv or fab."""
    name, *words = sys.argv = sys.argv[1:]
    start(name, words, Collection(steps, look, visit, run, status, doctor))


if __name__ == "__main__":
    main()
