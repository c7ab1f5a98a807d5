"""Determine a host's distribution and missing programs with pyinfra: a deploy in its own environment."""

import os

from pyinfra import host
from pyinfra.api.exceptions import OperationError
from pyinfra.facts.server import Command, LinuxDistribution

if not host.get_fact(LinuxDistribution)["name"]:
    raise OperationError("unknown distribution")
if lacking := host.get_fact(Command, command=os.environ["LACKING"]):
    raise OperationError(f"lacking: {lacking}")
