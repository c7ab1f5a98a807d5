"""Whether the monitor of a loop pool runs, which lets it grow."""

from __future__ import annotations

import shlex

from fabfile.facts import Facts
from fabfile.pool import units
from fabfile.pool.health.finding import Finding, since
from fabfile.pool.health.unit_state import met, skips, unmask

LATE = 6 * units.MONITOR_SECONDS
"""Seconds after which a run of the monitor is overdue; a run is limited to a minute."""


def findings(have: Facts, name: str) -> list[Finding]:
    """Report that a loop pool's monitor does not run; a direct pool's dmeventd is reported with LVM's findings."""
    if not have.instances.pools[name].monitored:
        return []
    timer, service = units.monitor(name), units.monitor_service(name)
    watch, last = have.units.of(timer), have.units.watched
    ago = f"; it last looked {since(last)} ago" if last is not None else ""
    grows = f"the pool does not grow by itself{ago}"
    masked = [unit for unit in (timer, service) if have.units.of(unit).load == "masked"]
    if masked:
        return [Finding("pool growth", "fail", f"{' and '.join(masked)} is masked: {grows}", unmask(*masked))]
    run = have.units.of(service)
    if run.active == "failed":
        why = f"{service} fails ({run.result})" + (f": {run.last}" if run.last else "")
        words = shlex.quote(service)
        hint = f"fix that, then systemctl start {words}; its log: journalctl -u {words}"
        return [Finding("pool growth", "fail", f"{why}: {grows}", hint)]
    start = f"systemctl restart {shlex.quote(timer)}"
    for unit in (timer, service):
        if why := skips(have.units.of(unit)):
            hint = met(f"systemctl restart {shlex.quote(timer)}")
            return [Finding("pool growth", "fail", f"{unit}: {why}: {grows}", hint)]
    if not have.pool.monitor:
        state = f" ({watch.result})" if watch.active == "failed" else ""
        return [Finding("pool growth", "warn", f"{timer} does not run{state}: {grows}", start)]
    late = run.started if run.active == "activating" else run.ended
    if late is not None and late > LATE:
        time = since(late)
        what = f"has been looking for {time}" if run.active == "activating" else f"last looked {time} ago"
        return [Finding("pool growth", "fail", f"{service} {what}: {grows}", start)]
    return []
