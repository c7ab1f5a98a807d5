"""Bring a file to hosts as an artefact is brought to them. Arguments: fab and its words; task: upload --file FILE."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from fabric import Config
from fabric.main import Fab
from invoke import Collection, Context

from fabfile import core_options, fleet, target
from fabfile.option import about
from fabfile.task import task


@task
def upload(c: Context, file: Annotated[str, about("the file")]) -> None:
    """Upload a file and remove it."""
    target.unstage(c, [target.stage(c, Path(file), "the file")])


if __name__ == "__main__":
    program = Fab(
        name="Fabric", namespace=Collection(upload), executor_class=fleet.Executor, config_class=Config, version="bench"
    )
    core_options.extend(program)
    program.run(sys.argv[1:])
