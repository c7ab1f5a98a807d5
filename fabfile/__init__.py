"""Entry point of fab: the tasks, on hosts."""

from __future__ import annotations

from invoke import Collection

from fabfile import bytecode as bytecode
from fabfile import commandline, tasks


def namespace() -> Collection:
    """The tasks that inv and fab share."""
    alone = Collection.from_module(tasks.root).tasks.values()
    return Collection(*alone, tasks.toolchain, tasks.containerd, tasks.runc, tasks.pool, tasks.inventory)


ns = namespace()
if fab := commandline.running("fabric"):
    commandline.check(fab, ns)
