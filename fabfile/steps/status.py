"""The state of a machine (status), and what would make a deploy or a boot fail (doctor)."""

from __future__ import annotations

import shlex
from typing import Literal

import msgspec

from fabfile import hints, sizes, systemd
from fabfile.apply import RESTART_UDEV
from fabfile.distributions import RUN
from fabfile.errors import Failed, Found, Refused
from fabfile.facts import Facts
from fabfile.facts.units import UDEV
from fabfile.host import Host
from fabfile.output.answer import compare, show
from fabfile.output.outcome import result
from fabfile.pool import status as pool
from fabfile.pool import units
from fabfile.pool.health import visibility
from fabfile.pool.health.finding import Finding
from fabfile.pool.health.findings import free, more_data, more_metadata, pool_findings
from fabfile.pool.health.unit_state import met, skips
from fabfile.pool.limits import KERNEL
from fabfile.pool.lookup import find_pool, find_pool_beside
from fabfile.pool.ownership import owner, refuse_stale
from fabfile.remote.context import Context
from fabfile.shell import words
from fabfile.steps import foreign, overrides, overview, refusals, smoke


def show_machine(c: Context, instance: str) -> None:
    """Print installed versions, the state of containerd, and the pools.

    Args:
        c: the machine.
        instance: the containerd instance; see `inventory.of`.
    """
    host, _, have = find_pool(c, "", instance)
    result(have)
    compare(lambda: overview.row(host, have))
    plugin = have.containerd.plugin("snapshotter", "devmapper")
    state = "running" if have.containerd.active else have.containerd.changing or "not running"
    show(
        f"system      {have.system.distribution} {have.system.version}, kernel {have.system.kernel}, {have.system.arch}"
    )
    for name, versions in have.versions.items():
        show(f"{name:11} {versions.current or 'not installed'}")
    show(f"containerd  {state}, devmapper plugin: {plugin.status if plugin else 'unknown'}")
    if have.containerd.reason:
        show(have.containerd.reason)
    show("\n".join(pool.describe(host.pool.dm_name, have)))
    for name, record in have.instances.pools.items():
        if name != host.pool.dm_name:
            state = "up" if name in have.instances.active else "DOWN"
            more = hints.command("pool.status", owner(record), name)
            show(f"also       the pool {name}, of {owner(record)}, {state} → {more}")


def diagnose(c: Context, instance: str) -> None:
    """Print the results of all checks of an instance and of every pool.

    Args:
        c: the machine.
        instance: the containerd instance; see `inventory.of`.

    Raises:
        Found: a check failed.
    """
    found = findings(c, instance)
    result(found)
    compare(lambda: found)
    for check in found:
        show("\n".join(_lines(check)))
    failed = [check.what for check in found if check.result == "fail"]
    if failed:
        raise Found(f"doctor: {', '.join(failed)}", "see above")


def check_health(c: Context, instance: str) -> None:
    """Run the checks of doctor after tasks that changed a host, and print only how many there were, and warnings.

    Args:
        c: the machine.
        instance: the containerd instance; see `inventory.of`.

    Raises:
        Failed: a check failed.
    """
    found = findings(c, instance)
    result(found)
    failed = [check for check in found if check.result == "fail"]
    warned = [check for check in found if check.result == "warn"]
    if failed:
        details = "\n".join(line for check in failed for line in _lines(check))
        raise Failed(f"health check: {', '.join(check.what for check in failed)}", details)
    show(f"health check: {len(found)} checks, none failed")
    for check in warned:
        show("\n".join(_lines(check)))


def _lines(check: Finding) -> list[str]:
    """Return the lines that show the result of a check."""
    more = [f"      → {check.hint}"] if check.hint and check.result != "ok" else []
    return [f"{check.result:5} {check.what:22} {check.found}", *more]


def findings(c: Context, instance: str) -> list[Finding]:
    """Gather facts, and return the results of all checks of an instance and of every pool of the machine."""
    host, have, refused = refusals.gather_with_refusals(c, instance)
    found = checks(host, have)
    found += _refused(refused, found)
    for name, record in have.instances.pools.items():
        if name != host.pool.dm_name:
            other, there = find_pool_beside(c, name, owner(record), have)
            found += [msgspec.structs.replace(one, what=f"{name}: {one.what}") for one in of_pool(other, there)]
    return found


def checks(host: Host, have: Facts) -> list[Finding]:
    """Make all checks of one containerd and its pool, from facts alone."""
    return [*_machine(host, have), *_daemon(host, have), *of_pool(host, have)]


def _refused(refused: list[refusals.Refusal], found: list[Finding]) -> list[Finding]:
    """Return what a deploy would refuse, except what a check shows already or a foreign containerd causes."""
    if any(check.what == OTHER and check.result == "fail" for check in found):
        return []
    shown = [check.found for check in found if check.result == "fail"]
    rows = []
    for one in refused:
        lines = one.details.splitlines() or [one.what]
        if not all(any(line in text or text in line for text in shown) for line in lines):
            reason = "; ".join([one.what, *one.details.splitlines()])
            rows.append(Finding("deploy", "fail", f"would be refused: {reason}", one.hint))
    return rows


def _machine(host: Host, have: Facts) -> list[Finding]:
    system, other = have.system, foreign.found(have, host.daemon)
    missing = [need for need in RUN if need not in have.needs]
    packages = hints.command("packages")
    return [
        _check("systemd", system.systemd, "runs", "not the init of the host", "a host needs systemd"),
        _check("dm-thin-pool", system.thin_pool, "in the kernel", "missing", f"boot {KERNEL}"),
        _check("programs", not missing, "all there", f"missing: {', '.join(missing)}", packages, soft=True),
        *_run(have.units.room),
        *_udev(have.units.silent),
        Finding(OTHER, "fail", "; ".join(other.lines), other.hint) if other else Finding(OTHER, "ok", "none"),
    ]


OTHER = "other containerd"

RUN_LEAST = sizes.MIB
"""Free bytes in /run below which udev may be unable to record a new device."""


def _run(room: int | None) -> list[Finding]:
    if room is None or room >= RUN_LEAST:
        return []
    found = f"{sizes.human(room)} free: udev does not answer, and any command that creates a device hangs"
    return [
        Finding("room in /run", "fail", found, "see du -xh /run, and make room; then systemctl restart systemd-udevd")
    ]


def _udev(silent: bool) -> list[Finding]:
    if not silent:
        return []
    found = f"it does not answer within {UDEV} s: any command that creates a device hangs"
    return [Finding("udev", "fail", found, RESTART_UDEV)]


_NOT_YET = "not yet: its unit is {}"


def _daemon(host: Host, have: Facts) -> list[Finding]:
    daemon, unit = have.containerd, have.units.of(host.daemon.unit)
    deploy = hints.command("deploy", host.daemon)
    if unit.load == "masked":
        unmask = f"systemctl unmask {host.daemon.unit}"
        return [Finding("containerd", "fail", f"{host.daemon.unit} is masked: it does not start", unmask)]
    if unit.active == "failed":
        why = f"{host.daemon.unit} failed ({unit.result})" + (f": {unit.last}" if unit.last else "")
        return [
            Finding("containerd", "fail", why, f"{hints.on_host(f'systemctl status {host.daemon.unit}')}; or {deploy}")
        ]
    if daemon.changing:
        return [Finding("containerd", "warn", _NOT_YET.format(daemon.changing), f"systemctl status {host.daemon.unit}")]
    if not daemon.active and skips(unit):
        hint = f"{met()}; then {deploy}"
        return [Finding("containerd", "fail", f"it does not run: {skips(unit)}", hint)]
    if not daemon.active:
        if host.pool.dm_name in have.instances.pools and not have.pool.status:
            deploy = f"once its pool is up: systemctl start {host.daemon.unit}"
        # On a machine without a deploy this is normal.
        down = have.smoke is not None and have.pool.status is not None
        return [Finding("containerd", "fail" if down else "warn", "does not run", deploy)]
    stale = daemon.loaded != have.config.digest
    runs = _check("containerd", not stale, "runs", "runs, but with older versions of its files", deploy, soft=True)
    return [runs, *_kills(host, have), _plugin(host, have), *_proof(host, have)]


def _kills(host: Host, have: Facts) -> list[Finding]:
    """Check that containers outlive the daemon, as they do with our unit alone."""
    why, unit = systemd.killing(have), host.daemon.unit
    if not why:
        return []
    found = f"{why}: whatever stops or restarts {unit} kills them"
    return [Finding("containers", "warn", found, systemd.keep_containers(have, host.daemon))]


def _plugin(host: Host, have: Facts) -> Finding:
    plugin = have.containerd.plugin("snapshotter", "devmapper")
    good = bool(plugin and plugin.status == "ok")
    why = have.containerd.reason or (plugin.status if plugin else "no such plugin in this build")
    hint = hints.command("deploy", host.daemon)
    off = overrides.disabled(have.config.sources) if plugin is None else []
    if off:
        why, hint = "; ".join(one.found for one in off), f"change {off[0].path}, then {hint}"
    return _check("devmapper plugin", good, "ok", why, hint)


def _proof(host: Host, have: Facts) -> list[Finding]:
    """Check whether containerd could make a snapshot while facts were gathered, if that was tried."""
    error = have.proof
    if error is None:
        return []
    return [_check("a snapshot", not error, "made and removed again", error, smoke.unproved(error, host))]


def of_pool(host: Host, have: Facts) -> list[Finding]:
    """Make the checks of one pool."""
    now, name = have.pool, host.pool.dm_name
    wrong = pool_findings(have, name)
    if not now.status and now.changing and not wrong:
        return [Finding("pool", "warn", _NOT_YET.format(now.changing), f"systemctl status {units.unit(name)}")]
    if not now.status:
        wrong = wrong or _stale(host, have)
        make = f"{hints.command('deploy', host.daemon)}; or {hints.command('pool.loop', host.daemon)} alone"
        return wrong or [Finding("pool", "warn", f"no pool {name}", make)]
    enable = f"systemctl enable {shlex.quote(units.unit(name))}"
    more = f"{more_data(have, name)}; or {free(have, name)}"
    ours = name in have.instances.pools  # another one has no unit of ours
    return [
        *(wrong or [Finding("pool", "ok", now.status.mode)]),
        *(
            [_check("pool at boot", now.enabled, "its unit is enabled", "its unit is not enabled", enable)]
            if ours
            else []
        ),
        *_fullness(now.status.used_data, now.status.total_data, "pool data", more),
        *_fullness(now.status.used_meta, now.status.total_meta, "pool metadata", more_metadata(have, name)),
        *_growth(host, have),
    ]


def _stale(host: Host, have: Facts) -> list[Finding]:
    """Check whether containerd's databases prevent a new pool, unless they belong to a foreign containerd."""
    if foreign.found(have, host.daemon):
        return []
    try:
        refuse_stale(have, host.daemon, host.pool.dm_name)
    except Refused as no:
        return [Finding("containerd's databases", "fail", "; ".join([no.what, *no.details.splitlines()]), no.hint)]
    return []


def _growth(host: Host, have: Facts) -> list[Finding]:
    """Check whether dmeventd monitors a direct pool, and whether its volume group has room for the next growth."""
    group = have.lvm.group if have.lvm else None
    volume = group.of_device(host.pool.dm_name) if group else None
    if not group or not volume:
        return []
    watched = volume.monitor == "monitored" and volume.profile == host.pool.dm_name
    why = f"{volume.monitor or 'not monitored'}, profile {volume.profile or 'none'}"
    again = f"systemctl restart dm-event.socket; {words(units.SCRIPT, 'up', host.pool.dm_name)}"
    if have.lvm and have.lvm.settings.get("monitoring") == "0":
        why += ": lvm.conf says activation/monitoring = 0"
        again = f"set it to 1 in /etc/lvm/lvm.conf; then {hints.on_host(again)}"
    if volume.profile != host.pool.dm_name:
        again = words("lvchange", "--metadataprofile", host.pool.dm_name, f"{host.pool.vg}/{host.pool.lv}")
    found = [_check("pool watched", watched, "by dmeventd, with its profile", why, again)]
    if host.pool.threshold < 100:
        step = -(-volume.size * host.pool.percent // 100 // group.extent)
        room = f"{group.free} free extents in {host.pool.vg}, the next step needs {step}"
        add = hints.command("pool.grow", host.daemon, host.pool.dm_name, "--device", "DEV")
        add = f"{visibility.unused(have.lvm, group)}{add}"
        found.append(_check("room to grow", group.free >= step, room, room, add, soft=True))
    return found


def _check(what: str, good: bool, yes: str, no: str, hint: str, *, soft: bool = False) -> Finding:
    return Finding(what, "ok" if good else "warn" if soft else "fail", yes if good else no, hint)


def _fullness(used: int, total: int, what: str, hint: str) -> list[Finding]:
    percent = 100 * used // total if total else 0
    result: Literal["ok", "warn", "fail"] = "ok" if percent < 80 else "warn" if percent < 95 else "fail"
    return [Finding(what, result, f"{percent}% used", hint)]
