"""What doctor finds on machines in every state."""

from __future__ import annotations

import msgspec
import pytest

from fabfile import facts
from fabfile.artefacts import build
from fabfile.facts import Facts, config
from fabfile.facts.containerd import Containerd, KillLine, Plugin
from fabfile.facts.needs import PROBES
from fabfile.facts.pool import Pool
from fabfile.facts.smoke import Smoke
from fabfile.facts.units import Unit, Units
from fabfile.host import Host
from fabfile.host import Pool as Asked
from fabfile.output import outcome
from fabfile.output.outcome import TaskReport
from fabfile.steps.status import check_health, checks
from tests.unit.fakes import Machine
from tests.unit.pool.loops import NAME, machine, pool, state
from tests.unit.steps.conftest import having, with_system

HOST = Host(pool=Asked(name=NAME))
ERROR = Plugin("io.containerd.snapshotter.v1", "devmapper", "error")
DISABLED = config.Config((config.source("/etc/containerd/config.toml", "disabled_plugins = ['devmapper']\n"),))
RUNS = Containerd(active=True, plugins=(Plugin("io.containerd.snapshotter.v1", "devmapper", "ok"),))

KILLS = KillLine("/x.conf", 2, "mixed")


def well(**changes: object) -> Facts:
    return msgspec.structs.replace(machine(), **{"containerd": RUNS, **changes})


def test_a_healthy_machine_passes_all_checks() -> None:
    found = checks(HOST, well())
    assert {check.result for check in found} == {"ok"}
    assert {check.what for check in found} >= {"systemd", "dm-thin-pool", "devmapper plugin", "pool", "pool at boot"}


def test_a_pool_that_is_not_ours_needs_no_unit() -> None:
    have = well(instances=msgspec.structs.replace(machine().instances, settings={}))
    assert NAME not in have.instances.pools and have.pool.status
    assert "pool at boot" not in {check.what for check in checks(HOST, have)}


@pytest.mark.parametrize(
    ("have", "what", "result", "says", "hint"),
    [
        (with_system(systemd=False), "systemd", "fail", "not the init", "systemd"),
        (with_system(thin_pool=False), "dm-thin-pool", "fail", "missing", "kernel"),
        (well(proof="object already exists"), "a snapshot", "fail", "object already exists", "pool.fsck"),
        (
            well(proof="Limit for the maximum number of semaphores reached."),
            "a snapshot", "fail", "semaphores", "dmsetup -y udevcomplete_all 10",
        ),
        (
            well(smoke=Smoke("", ""), containerd=Containerd()), "containerd", "fail", "does not run", "deploy",
        ),
        (
            well(config=DISABLED, containerd=Containerd(active=True)),
            "devmapper plugin", "fail", "config.toml:1: disabled_plugins has devmapper", "change /etc/",
        ),
        (
            well(containerd=msgspec.structs.replace(RUNS, loaded="x")),
            "containerd", "warn", "with older versions of its files", "deploy",
        ),
        (having(needs=frozenset(PROBES) - {"dmsetup"}), "programs", "warn", "dmsetup", "packages"),
        (well(containerd=Containerd(foreign="/usr/bin/containerd")), "other containerd", "fail", "/usr/bin", "mv /usr"),
        (well(containerd=Containerd()), "containerd", "warn", "does not run", "deploy"),
        (well(containerd=Containerd(active=True)), "devmapper plugin", "fail", "no such plugin", "deploy"),
        (
            well(containerd=Containerd(active=True, plugins=(ERROR,), reason="dmsetup not found")),
            "devmapper plugin", "fail", "dmsetup not found", "deploy",
        ),
        (
            well(containerd=Containerd(changing="activating (start)")),
            "containerd", "warn", "not yet: its unit is activating (start)", "systemctl status containerd.service",
        ),
        (
            having(pool=Pool(changing="activating (start)")),
            "pool", "warn", "not yet: its unit is activating (start)", "systemctl status devmapper-pool@pool.service",
        ),
        (
            well(containerd=msgspec.structs.replace(RUNS, kill_mode="mixed", kill_line=KILLS)),
            "containers", "warn", "/x.conf:2: KillMode=mixed: whatever stops", "remove that line from /x.conf",
        ),
        (
            well(containerd=msgspec.structs.replace(RUNS, kill_mode="mixed", stale=True)),
            "containers", "warn", "systemd has loaded KillMode=mixed", "systemctl daemon-reload",
        ),
        (
            well(
                containerd=Containerd(),
                units=Units({HOST.daemon.unit: Unit(active="inactive", skipped="/x.conf:2: ConditionHost=a")}),
            ),
            "containerd", "fail", "systemd skips its start: /x.conf:2: ConditionHost=a", "; then inv deploy",
        ),
        (well(units=Units(room=4096)), "room in /run", "fail", "udev does not answer", "make room"),
        (having(), "pool", "warn", "no pool", "pool.loop"),
        (well(pool=pool(enabled=False)), "pool at boot", "fail", "not enabled", "systemctl enable devmapper-pool@pool"),
        (well(pool=state("rw", used_data=1500000)), "pool data", "warn", "91% used", "pool.grow --name pool --size"),
        (well(pool=state("rw", used_meta=19000)), "pool metadata", "fail", "98% used", "--name pool --meta-size"),
        (well(pool=state("Fail")), "pool", "fail", "fail mode", "pool.check"),
    ],
)  # fmt: skip
def test_a_failed_check_is_named_with_the_fix(have: Facts, what: str, result: str, says: str, hint: str) -> None:
    (found,) = (check for check in checks(HOST, have) if check.what == what)
    assert found.result == result
    assert says in found.found
    assert hint in found.hint


def looked_at(have: Facts, monkeypatch: pytest.MonkeyPatch) -> TaskReport:
    """What becomes of a health check of such a machine."""
    monkeypatch.setattr(build, "_is_there", lambda tool: True)  # what this computer can build is not the question
    monkeypatch.setattr(facts, "parse", lambda *_: have)
    c = Machine(["@@ system"])
    c.host_entry = HOST
    report, _ = outcome.perform("doctor", lambda: check_health(c, ""), remote=True)
    return report


def test_a_health_check_passes_with_warnings_and_shows_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = looked_at(well(needs=frozenset(PROBES) - {"thin_dump"}), monkeypatch)
    assert report.status == "ok"
    said = capsys.readouterr().out
    assert said.startswith(f"health check: {len(report.result)} checks, none failed\nwarn  programs")
    assert "systemd" not in said


def test_a_health_check_fails_with_what_doctor_found(monkeypatch: pytest.MonkeyPatch) -> None:
    report = looked_at(with_system(systemd=False), monkeypatch)
    assert report.status == "failed"
    assert report.error and report.error.what == "health check: systemd, deploy"
    assert report.error.details.startswith("fail  systemd                not the init of the host\n      → a host")
    assert {"systemd", "dm-thin-pool", "pool"} <= {check.what for check in report.result}
