"""Masked, failed, stopped or late units that activate a pool or let it grow, each with its cause and fix."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import systemd
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.pool import Pool
from fabfile.facts.units import Unit, Units
from fabfile.plan import Command
from fabfile.pool import units
from fabfile.pool.health import usable
from fabfile.pool.health.finding import since
from fabfile.pool.health.findings import pool_findings
from fabfile.pool.health.monitor import LATE
from fabfile.pool.loop import loop_pool
from fabfile.pool.status import describe
from tests.unit.pool.loops import NAME, machine, pool, state, want

UNIT, TIMER, SERVICE = units.unit(NAME), units.monitor(NAME), units.monitor_service(NAME)
MASKED = Unit("masked")
FAILED = Unit("loaded", "failed", "exit-code", started=9, ended=8, last="devmapper-pool: no space left")


def with_units(now: Pool | None = None, watched: int | None = 4, **units: Unit) -> Facts:
    names = {"unit": UNIT, "timer": TIMER, "service": SERVICE}
    found = Units({names[key]: unit for key, unit in units.items()}, watched=watched)
    return msgspec.structs.replace(machine(now), units=found)


@pytest.mark.parametrize(
    ("have", "result", "found", "hint"),
    [
        (with_units(unit=MASKED), "fail", "its unit is masked", f"systemctl unmask {UNIT}"),
        (with_units(unit=FAILED), "fail", "no space left", f"systemctl start {UNIT} containerd.service"),
        (with_units(timer=MASKED), "fail", f"{TIMER} is masked", f"systemctl unmask {TIMER}"),
        (with_units(service=MASKED), "fail", f"{SERVICE} is masked", f"systemctl unmask {SERVICE}"),
        (with_units(service=FAILED), "fail", "no space left: the pool does not grow", f"systemctl start {SERVICE}"),
        (
            with_units(pool(monitor=False), timer=Unit("loaded", "inactive")),
            "warn", "does not run: the pool does not grow by itself; it last looked 4 s ago", f"restart {TIMER}",
        ),
        (with_units(service=Unit("loaded", "inactive", "success", 99, LATE + 1)), "fail", "last looked", f"rt {TIMER}"),
        (with_units(service=Unit("loaded", "activating", "success", LATE + 1)), "fail", "has been looking for", TIMER),
        (with_units(pool(suspended=True)), "fail", "suspended", f"dmsetup resume {NAME}"),
        (with_units(state("ro")), "fail", "the kernel has made it read-only", f"systemctl restart {UNIT}"),
    ],
)  # fmt: skip
def test_what_does_not_work_is_named_with_the_fix(have: Facts, result: str, found: str, hint: str) -> None:
    (said,) = pool_findings(have, NAME)
    assert (said.result, found in said.found, hint in said.hint) == (result, True, True), said
    assert f"  {result.upper():9} {said.found}" in describe(NAME, have)


@pytest.mark.parametrize(
    "have",
    [
        with_units(service=Unit("loaded", "inactive", "success", 12, 10)),
        with_units(service=Unit("loaded", "activating", "success", 30)),
        with_units(service=Unit("loaded", "inactive", "success"), watched=None),
    ],
)
def test_what_works_has_no_findings(have: Facts) -> None:
    assert pool_findings(have, NAME) == []


def down(**units: Unit) -> Facts:
    now = msgspec.structs.replace(pool(), table=None, status=None)
    return with_units(now, 4, **units)


@pytest.mark.parametrize(
    ("have", "found"),
    [
        (down(), "it is down: its unit does not run"),
        (down(unit=MASKED), "it is down: its unit is masked"),
        (down(unit=FAILED), "it is down: its unit failed (exit-code): devmapper-pool: no space left"),
        (
            down(unit=Unit("loaded", "activating", "success", 75)),
            "it is down: its unit has been starting for 1 min 15 s",
        ),
    ],
)
def test_a_recorded_pool_that_is_down_is_a_failure_with_its_units_last_line(have: Facts, found: str) -> None:
    (said,) = pool_findings(have, NAME)
    assert (said.result, said.found) == ("fail", found)
    assert describe(NAME, have)[0] == f"pool {NAME}: DOWN"


def test_a_unit_whose_log_names_a_task_is_not_just_restarted() -> None:
    (said,) = pool_findings(
        down(unit=msgspec.structs.replace(FAILED, last="devmapper-pool: it is damaged: see pool.repair")), NAME
    )
    assert said.hint == "inv pool.check --name pool; then follow its advice"
    (said,) = pool_findings(down(unit=FAILED), NAME)
    assert said.hint.endswith("; where that fails: inv pool.check --name pool")
    assert said.hint.startswith("systemctl restart ")


def test_status_shows_when_each_last_succeeded() -> None:
    have = msgspec.structs.replace(machine(), units=Units(watched=4, checked=7200, backup=90061))
    shown = describe(NAME, have)
    assert "  monitor   4 s ago, to let it grow" in shown
    assert "  checked   2 h ago" in shown
    assert "  backup    1 d 1 h ago" in shown
    never = describe(NAME, machine())
    assert "  monitor   not since the boot, to let it grow" in never
    assert "  backup    none → inv pool.backup --name pool" in never


@pytest.mark.parametrize("unit", [UNIT, TIMER, SERVICE])
def test_a_masked_unit_is_never_unmasked_silently(unit: str) -> None:
    have = msgspec.structs.replace(machine(), units=Units({unit: MASKED}))
    with pytest.raises(Refused) as refused:
        loop_pool.plan(have, want(), None)
    assert refused.value.hint == f"systemctl unmask {unit}"
    systemd.refuse_masked(have, "containerd.service")


def test_a_failed_monitor_is_run_again_and_must_succeed() -> None:
    (change,) = loop_pool.plan(with_units(service=FAILED), want(), None)
    assert isinstance(change, Command)
    assert change.script.startswith(f"systemctl start {SERVICE} || {{ systemctl status ")


def test_units_that_changed_under_systemd_are_read_again() -> None:
    (change,) = loop_pool.plan(machine(pool(stale=True)), want(), None)
    assert isinstance(change, Command)
    assert change.script == "systemctl daemon-reload"


def test_a_pool_that_accepts_no_writes_is_not_healthy() -> None:
    assert usable.plan(machine(), NAME) == []
    assert usable.plan(down(), NAME) == [], "the step before brings it up, or says why not"
    with pytest.raises(Refused, match="the pool pool is not healthy") as refused:
        usable.plan(machine(pool(suspended=True)), NAME)
    assert refused.value.hint == "dmsetup resume pool"


@given(st.integers(0, 10**9))
def test_a_duration_is_shown_in_its_two_largest_units(seconds: int) -> None:
    worth = {"d": 86400, "h": 3600, "min": 60, "s": 1}
    words = since(seconds).split()
    shown = sum(int(number) * worth[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert 0 <= seconds - shown < {"d": 3600, "h": 60}.get(words[1], 1)
