"""Entry point of fab: the tasks, on hosts.

The modules and packages by purpose; each package lists its modules in the same way:

From the command line to tasks
    cli                 the command line, and the executors behind inv and fab
    tasks               the tasks: their options, and one call each
    option              options, declared once for hosts.toml, flags, help and docs
    hints               commands in messages that can be pasted
    interruption        Ctrl-C and SIGTERM
    workers             a list of hosts in a limited number of threads
    once                what the threads of all hosts need, computed by one of them
    startup             settings of the process

Which hosts, and what they should become
    inventory           hosts.toml as hosts and groups
    inventory_tables    which table of hosts.toml sets what
    host                the settings of a host
    instance            a containerd on a host: its paths
    selection           which hosts the words of -H mean
    ranges              names in ClusterShell's notation
    exchange            import from and export to Ansible and ssh
    trust               the task ssh.trust: host keys
    ssh_close           the task ssh.close: connections that OpenSSH keeps

From facts to changes
    facts               the state of a host: a script and parsers
    plan                changes as data
    steps               what a deploy does, and status, doctor and reset
    pool                thin pools
    traits              what hosts are compared by
    converge            gather, plan, apply, and again
    apply               changes as one script under the lock
    systemd             units: enable, start, reload
    distributions       programs that a host needs, and their packages

Reaching a host
    remote              scripts on one machine, as root, within limits
    ssh                 connections

What a run tells
    console             the only place that writes to the terminal
    events              what happens in a run, as it happens
    activity            what each host is busy with
    output              outcomes and answers, and how they are shown
    runs                records of runs

On the controller
    artefacts           downloads, sources and builds, verified and cached
    lab                 throwaway machines
    paths               the repository, the cache, the inventory
    private             directories that only their user can write to

Formats and words
    errors              errors in three parts
    shell               quoting
    render              templates
    sizes               `100G` and bytes
    keyvalue            lines of keys and values
    untrusted_toml      TOML that others wrote
    bolt                reads containerd's databases
    boltwriter          writes them
"""

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
