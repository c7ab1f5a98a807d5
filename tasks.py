"""Door for inv: the tasks, on this machine, and the lab."""

from __future__ import annotations

from invoke import Collection

from fabfile import commandline, namespace
from fabfile.tasks import lab

ns = namespace(here=True)
ns.add_collection(Collection.from_module(lab))
if inv := commandline.running("invoke"):
    commandline.check(inv, ns)
