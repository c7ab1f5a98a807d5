"""Remove a pool and all that depends on it, in the one order that works."""

from __future__ import annotations

from invoke import Context, task

from fabfile import inventory, target
from fabfile.console import say
from fabfile.daemon import INSTANCE
from fabfile.errors import Failed, Refused
from fabfile.facts import Query, gather
from fabfile.plan import Command, apply, words
from fabfile.render import render
from fabfile.steps.pool import files, thin
from fabfile.steps.pool.owner import owner


@task(
    help={
        "yes": "really do it",
        "force": "also while containers run: they are killed",
        "name": "of the pool",
        "instance": INSTANCE,
    }
)
def reset(c: Context, yes: bool = False, force: bool = False, name: str = "", instance: str = "") -> None:
    """Remove the pool, its files and all images and containers of this containerd."""
    host = inventory.of(c, instance)
    daemon, name = host.daemon, name or host.pool.name
    thin.check_name(name)
    have = gather(
        c, Query(pool=name, dir=host.pool.dir, bin_dir=host.bin_dir, instance=host.instance, files=files.paths(name))
    )
    conf = have.files.get(files.conf(name))
    if conf is None:
        if have.pool.table:
            raise Refused(
                f"the device {name} is not ours", f"no {files.conf(name)}", hint="dmsetup remove, if you must"
            )
        say(f"no pool {name}: nothing to do")
        return
    settings = files.parse(conf.content)
    if owner(settings).instance != daemon.instance:
        raise Refused(
            f"the pool {name} was made for {owner(settings)}",
            f"this would remove the images and containers of {daemon}, and leave theirs without a pool",
            hint=f"pool.reset{owner(settings).option or ' --instance default'} --name {name}",
        )
    script = render(
        "pool/reset.sh.j2",
        name=name,
        data=settings["DATA"],
        meta=settings["META"],
        root=settings["DATA"].rpartition("/")[0],
        script=files.SCRIPT,
        unit=files.unit(name),
        unit_path=files.unit_path(name),
        monitor=files.monitor(name),
        monitor_paths=files.monitor_paths(name),
        conf=files.conf(name),
        daemon=daemon,
        force=force,
    )
    if target.is_dry(c) or not yes:
        what = f"{settings['DATA']}, {settings['META']}, all images, containers and snapshots of {daemon}"
        if target.is_dry(c):
            say(f"would destroy: {what}\n{script}")
            return
        raise Refused(f"pool.reset destroys the pool {name}", what, hint="if that is what you want: pool.reset --yes")
    apply(c, "pool.reset", [Command(f"remove the pool {name} and containerd's state on it", script)], have)
    left = gather(c, Query(pool=name, dir=host.pool.dir, files=files.paths(name)))
    if left.pool.table or left.pool.data or left.pool.meta or files.conf(name) in left.files:
        raise Failed(f"pool.reset: something of {name} is still there", words(str(left.pool)))
    say(f"pool {name}: removed; containerd is stopped until the next deploy")
