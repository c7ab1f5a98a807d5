"""What a machine is (status) and whether it can become what it should (doctor)."""

from __future__ import annotations

from typing import Literal

import msgspec
from invoke import Context, task

from fabfile.console import say
from fabfile.daemon import INSTANCE
from fabfile.errors import Failed
from fabfile.facts import Facts
from fabfile.inventory import Host
from fabfile.plan import as_json
from fabfile.steps.packages import RUN
from fabfile.steps.pool import files
from fabfile.steps.pool import status as pool
from fabfile.steps.pool.advice import FREE, advice, more_data, more_metadata
from fabfile.steps.pool.look import look
from fabfile.steps.pool.owner import owner


class Check(msgspec.Struct, frozen=True):
    """One thing that doctor looked at."""

    what: str
    result: Literal["ok", "warn", "fail"]
    found: str
    hint: str = ""


@task(help={"json": "all facts as JSON", "instance": INSTANCE})
def status(c: Context, instance: str = "", json: bool = False) -> None:
    """Show what is installed, what runs, and the pool."""
    host, _, have = look(c, "", instance)
    if json:
        say(as_json(have))
        return
    plugin = have.containerd.plugin("snapshotter", "devmapper")
    state = "running" if have.containerd.active else have.containerd.changing or "not running"
    say(
        f"system      {have.system.distribution} {have.system.version}, kernel {have.system.kernel}, {have.system.arch}"
    )
    for name, versions in have.versions.items():
        say(f"{name:11} {versions.current or 'not installed'}")
    say(f"containerd  {state}, devmapper plugin: {plugin.status if plugin else 'unknown'}")
    if have.containerd.reason:
        say(have.containerd.reason)
    say("\n".join(pool.describe(host.pool.dm_name, have)))
    for name, settings in have.instances.pools.items():
        if owner(settings).instance != host.instance:
            say(f"besides    the pool {name}, of {owner(settings)}")


@task(help={"json": "as JSON", "instance": INSTANCE})
def doctor(c: Context, instance: str = "", json: bool = False) -> None:
    """Look for what would stop a deploy, or a pool from coming back, and say the way out."""
    host, _, have = look(c, "", instance)
    found = checks(host, have)
    if json:
        say(as_json(found))
    else:
        for check in found:
            say(f"{check.result:5} {check.what:22} {check.found}")
            if check.hint and check.result != "ok":
                say(f"      → {check.hint}")
    failed = [check.what for check in found if check.result == "fail"]
    if failed:
        raise Failed(f"doctor: {', '.join(failed)}", "see above")


def checks(host: Host, have: Facts) -> list[Check]:
    """Everything that doctor looks at, purely from the facts."""
    system, daemon, now = have.system, have.containerd, have.pool
    missing = [need for need in RUN if need not in have.needs]
    plugin = daemon.plugin("snapshotter", "devmapper")
    found = [
        _check("systemd", system.systemd, "runs", "not the init of this machine", "a host needs systemd"),
        _check("dm-thin-pool", system.thin_pool, "in the kernel", "missing", "boot a distribution's kernel"),
        _check("programs", not missing, "all there", f"missing: {', '.join(missing)}", "packages", soft=True),
        _check("other containerd", not daemon.foreign, "none", str(daemon.foreign), "remove that package"),
        _check(
            "containerd", daemon.active, "runs", *_why(daemon.changing, "does not run", host.daemon.unit), soft=True
        ),
    ]
    if daemon.active:
        why = daemon.reason or (plugin.status if plugin else "no such plugin in this build")
        found.append(_check("devmapper plugin", bool(plugin and plugin.status == "ok"), "ok", why, "deploy"))
    if not now.status:
        none = _why(now.changing, f"no pool {host.pool.dm_name}", files.unit(host.pool.dm_name), "pool.loop, or deploy")
        found.append(Check("pool", "warn", *none))
        return found
    wrong = [Check(one.what, one.result, one.found, one.hint) for one in advice(have, host.pool.dm_name)]
    return [
        *found,
        *(wrong or [Check("pool", "ok", now.status.mode)]),
        _check("pool at boot", now.enabled, "its unit is enabled", "its unit is not enabled", "pool.loop"),
        *_fullness(now.status.used_data, now.status.total_data, "pool data", f"{more_data(have)}; or {FREE}"),
        *_fullness(now.status.used_meta, now.status.total_meta, "pool metadata", more_metadata(have)),
        *_growth(host, have),
    ]


def _growth(host: Host, have: Facts) -> list[Check]:
    """Whether dmeventd can extend a direct pool, now and at its next step."""
    group = have.lvm.group if have.lvm else None
    volume = next((v for v in group.volumes.values() if v.dm_name == host.pool.dm_name), None) if group else None
    if not group or not volume:
        return []
    watched = volume.monitor == "monitored" and volume.profile == host.pool.dm_name
    why = f"{volume.monitor or 'not monitored'}, profile {volume.profile or 'none'}"
    found = [_check("pool watched", watched, "by dmeventd, with its profile", why, "pool.direct, or deploy")]
    if host.pool.threshold < 100:
        step = -(-volume.size * host.pool.percent // 100 // group.extent)
        room = f"{group.free} free extents in {host.pool.vg}, the next step needs {step}"
        found.append(_check("room to grow", group.free >= step, room, room, "pool.grow --device DEV", soft=True))
    return found


def _why(changing: str, otherwise: str, unit: str, hint: str = "deploy") -> tuple[str, str]:
    """What is said of something that is not up, and the way out: its unit may still be at it."""
    return (f"not yet: its unit is {changing}", f"systemctl status {unit}") if changing else (otherwise, hint)


def _check(what: str, good: bool, yes: str, no: str, hint: str, *, soft: bool = False) -> Check:
    return Check(what, "ok" if good else "warn" if soft else "fail", yes if good else no, hint)


def _fullness(used: int, total: int, what: str, hint: str) -> list[Check]:
    percent = 100 * used // total if total else 0
    result: Literal["ok", "warn", "fail"] = "ok" if percent < 80 else "warn" if percent < 95 else "fail"
    return [Check(what, result, f"{percent}% used", hint)]
