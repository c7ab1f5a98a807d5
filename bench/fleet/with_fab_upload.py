"""Upload a file to hosts as an artefact is uploaded. Arguments: those of fab, with the task `upload --file FILE`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from invoke import Collection, Context

from fabfile.cli.task import task
from fabfile.option import about
from fabfile.remote import target
from tests.integration.local import harmless


@task
def upload(c: Context, file: Annotated[str, about("file to upload")]) -> None:
    """Upload a file and remove it."""
    target.unstage(c, [target.stage(c, Path(file), "the file")])


if __name__ == "__main__":
    harmless.start("fab", sys.argv[1:], Collection(upload))
