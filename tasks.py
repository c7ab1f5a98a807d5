"""Entry point of inv: the tasks, on this machine; also records of runs, host keys, and the lab."""

from __future__ import annotations

from invoke import Collection

from fabfile import namespace
from fabfile.cli import commandline
from fabfile.tasks import lab, runs, ssh

ns = namespace(here=True)
for module in (lab, runs, ssh):
    ns.add_collection(Collection.from_module(module))
if inv := commandline.running("invoke"):
    commandline.check(inv, ns)
