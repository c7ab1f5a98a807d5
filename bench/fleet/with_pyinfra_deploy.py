"""The checks of with_pyinfra.py, and the directories and links of an installation: a deploy in its own environment."""

import json
import os
from pathlib import Path

from pyinfra import local
from pyinfra.operations import files

local.include(str(Path(__file__).with_name("with_pyinfra.py")))
installed = json.loads(os.environ["INSTALLED"])
for directory in installed["directories"]:
    files.directory(path=directory)
for path, target in installed["links"].items():
    files.link(path=path, target=target)
