"""Entry point of fab: the tasks, on hosts."""

from __future__ import annotations

from invoke import Collection

from fabfile import startup as startup

# isort: split
from fabfile import tasks
from fabfile.cli import commandline


def namespace(*, here: bool = False) -> Collection:
    """The tasks that inv and fab share.

    Args:
        here: whether those that only inv has are among them.
    """
    alone = Collection.from_module(tasks.root).tasks.values()
    found = Collection(*alone, tasks.toolchain, tasks.containerd, tasks.runc, tasks.pool)
    several = [each for each in Collection.from_module(tasks.inventory).tasks.values() if here or not each.here]
    found.add_collection(Collection("inventory", *several))
    return found


ns = namespace()
if fab := commandline.running("fabric"):
    commandline.check(fab, ns)
