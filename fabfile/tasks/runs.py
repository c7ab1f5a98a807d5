"""Records of earlier runs, which are on this controller; for inv only."""

from __future__ import annotations

from typing import Annotated

from invoke import Context

from fabfile.cli.task import task
from fabfile.option import about

RUN = r"\d.*|last"
Name = Annotated[str, about("run, by the name that runs.list shows; by default the last one")]


@task(name="list", answers="fabfile.runs.history:Run[]", read_only=True, record=False)
def list_(c: Context) -> None:
    """List earlier runs: when, what was typed, and what became of the hosts."""
    from fabfile.runs.show import list_runs

    list_runs()


@task(follows={"run": RUN}, answers="fabfile.runs.history:Recorded", read_only=True, record=False)
def show(c: Context, run: Name = "") -> None:
    """Show a run: the time that each step took, and the outcome and error of each host."""
    from fabfile.runs.show import show_run

    show_run(run)


@task(follows={"run": RUN}, answers="fabfile.runs.page:Page", record=False)
def report(
    c: Context,
    run: Name = "",
    to: Annotated[str, about("file to write; by default RUN.html in this directory")] = "",
) -> None:
    """Write a run as one HTML file: hosts, steps, changes, and a chart of where the time went."""
    from fabfile.runs.page import write_report

    write_report(c, run, to)
