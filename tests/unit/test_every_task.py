"""What holds for every task: --dry changes nothing and ends with 3; --json only where it has a meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from fabric.main import Fab
from invoke import Config, Context, Program

import fabfile
import tasks
from fabfile import facts, paths
from fabfile.artefacts import build
from fabfile.cli import commandline
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.pool import Pool
from fabfile.host import Host
from fabfile.lab import directory
from fabfile.output import outcome
from fabfile.output.outcome import TaskReport
from fabfile.pool.maintain import metadata_copies
from fabfile.remote import execution
from tests.reference import all_tasks
from tests.unit.exchange.test_ansible import RECORDS
from tests.unit.fakes import Machine
from tests.unit.pool import groups, loops
from tests.unit.pool.machines import done, on_disks, running
from tests.unit.pool.maintain import test_adopt, test_rescue
from tests.unit.steps.conftest import having
from tests.unit.steps.conftest import mirror as mirror

READ_ONLY = {name for name, task in all_tasks().items() if task.read_only}
"""What changes nothing, whatever is said."""

ASKS = {"ssh.trust"}
"""What connects to hosts by itself: tests/integration/local/test_trust.py tries it, --dry too."""
NO_HOST = {"lab.list", "runs.list", "runs.show"}
"""Those that look at no machine."""

WRITES_HERE = {"runs.report", "ssh.close"}
"""What changes the controller: tests/unit/runs/test_page.py and tests/integration/local/test_multiplex.py try it."""

LAB: dict[str, dict[str, Any]] = {
    "lab.up": {},
    "lab.shell": {"name": "lab-1"},
    "lab.down": {"name": "lab-1"},
    "lab.demo": {},
}


def bare() -> Facts:
    """A machine with all packages and nothing else, and room for a pool."""
    return having(pool=Pool(place=loops.ROOM))


def lacking() -> Facts:
    """One without a package that is needed."""
    return having(needs=bare().needs - {"dmsetup"})


def deleted() -> Facts:
    """One with a pool whose metadata file was deleted while it is up."""
    return loops.machine(test_rescue.without_metadata(meta_loop=test_rescue.DELETED))


def theirs() -> Facts:
    """One with a pool that something else made."""
    have = test_adopt.theirs()
    backing = {"devpool": f"{test_adopt.DIR}/data"}
    return msgspec.structs.replace(have, instances=msgspec.structs.replace(have.instances, backing=backing))


def two_disks() -> Facts:
    """A machine with a direct pool on one disk, and a second disk that is empty."""
    disks = (groups.labelled(group="containerd", group_uuid="group-uuid"), groups.empty("/dev/vdc"))
    return running(groups.made(disks=disks), groups.NAME)


Try = tuple[Callable[[], Facts], dict[str, Any]]
POOL: Try = (loops.machine, {})
TASKS: dict[str, Try] = {
    "deploy": (bare, {}),
    "packages": (lacking, {}),
    "run": (bare, {"command": "true"}),
    "smoke": POOL,
    "toolchain.go": (bare, {}),
    "toolchain.protoc": (bare, {}),
    "containerd.build": (bare, {}),
    "containerd.install": (bare, {}),
    "containerd.configure": (bare, {}),
    "runc.install": (bare, {}),
    "inventory.import": (bare, {"file": str(RECORDS / "groups.yml"), "output": "/nonexistent/hosts.toml"}),
    "pool.loop": (bare, {"size": "1G"}),
    "pool.direct": (groups.fresh, {"devices": ("/dev/vdb",)}),
    "pool.adopt": (theirs, {}),
    "pool.grow": (loops.machine, {"size": "200G"}),
    "pool.check": POOL,
    "pool.backup": POOL,
    "pool.repair": POOL,
    "pool.restore": POOL,
    "pool.rescue": (deleted, {}),
    "pool.kept": (loops.machine, {"keep": 0}),
    "pool.fsck": POOL,
    "pool.trim": (loops.machine, {"offline": True}),
    "pool.reset": POOL,
}
"""For each task that can change something: a machine on which it would, and the options given."""

DIRECT: dict[str, Try] = {
    "pool.grow": (two_disks, {"device": ["/dev/vdc"]}),
    **dict.fromkeys(
        ("pool.check", "pool.backup", "pool.repair", "pool.restore", "pool.fsck", "pool.reset"),
        (on_disks, {}),
    ),
    "pool.kept": (on_disks, {"keep": 0}),
    "pool.trim": (on_disks, {"offline": True}),
}
"""The same for a direct pool, for the tasks whose scripts depend on the variant."""

Tried = tuple[str, Callable[[], Facts], dict[str, Any]]
TRIES: list[Tried] = [(name, *tried) for tries in (TASKS, DIRECT) for name, tried in tries.items()]


def machine(have: Facts, monkeypatch: pytest.MonkeyPatch, *, dry: bool) -> Machine:
    """A machine that is as `have`, whenever it is looked at."""
    monkeypatch.setattr(facts, "parse", lambda *_: have)
    c = Machine(["@@ system"], dry=dry)
    c.host_entry = Host()
    return c


def test_every_task_is_tried() -> None:
    assert {*tasks.ns.task_names} == {*READ_ONLY, *ASKS, *LAB, *TASKS, *WRITES_HERE}


def test_no_help_speaks_of_an_empty_value_as_it_is_refused() -> None:
    for name, task in all_tasks().items():
        assert not [each.name for each in task.get_arguments() if "empty:" in (each.help or "")], name


def test_what_inv_has_alone() -> None:
    assert {*tasks.ns.task_names} - {*fabfile.ns.task_names} == commandline.INV_ONLY


def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which every script is added, from now on, that may change something."""
    found: list[str] = []
    original = execution.script

    def script(c: Any, body: str, **options: Any) -> Any:
        if not options.get("read_only"):
            found.append(body)
        return original(c, body, **options)

    monkeypatch.setattr(execution, "script", script)
    return found


def planned(tried: Tried, mirror: str, monkeypatch: pytest.MonkeyPatch) -> tuple[TaskReport, Machine]:
    """Run one of `TRIES` with --dry; return its report, and the machine that it ran on."""
    name, have, given = tried
    monkeypatch.setattr(build, "_is_there", lambda tool: True)  # what this computer can build is not the question
    monkeypatch.setattr(metadata_copies, "list_copies", lambda *_: [("/srv/meta.1", 4096)])
    if "mirror" in all_tasks()[name].options:
        given = {**given, "release": "lab", "mirror": mirror}
    c = machine(have(), monkeypatch, dry=True)
    return done(name, c, **given), c


@pytest.mark.parametrize("tried", TRIES, ids=[f"{name}-{have.__name__}" for name, have, _ in TRIES])
def test_dry_exits_with_3_where_something_would_be_done_and_changes_nothing(
    tried: Tried, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = written(monkeypatch)
    report, _ = planned(tried, mirror, monkeypatch)
    assert not report.error, report.error
    assert report.status == "pending"
    assert outcome.exit_code([report.status]) == 3
    assert "pending" in {step.status for step in report.steps}
    assert changes == []


@pytest.mark.parametrize("name", DIRECT)
def test_a_task_on_a_direct_pool_plans_the_scripts_of_that_variant(
    name: str, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, _ = planned((name, *DIRECT[name]), mirror, monkeypatch)
    scripts = [getattr(change, "script", "") for step in report.steps for change in step.changes]
    assert any("thinpool" in script for script in scripts)


@pytest.mark.parametrize("name", sorted(READ_ONLY - NO_HOST))
def test_what_only_looks_does_the_same_with_dry_and_ends_as_ever(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = []
    for dry in (False, True):
        c = machine(loops.machine(), monkeypatch, dry=dry)
        reports.append(msgspec.structs.replace(done(name, c), seconds=0.0))
        assert "apply" not in c.log
        proves = [script for script in c.scripts if "snapshots" in script and " prepare " in script]
        assert bool(proves) == (name == "doctor" and not dry), "a snapshot is written"
    assert reports[0] == reports[1]
    assert reports[0].status != "pending"


@pytest.mark.parametrize("name", LAB)
def test_dry_in_the_lab(name: str) -> None:
    c = Context(Config(overrides={"run": {"dry": True}}))
    report = done(name, c, **LAB[name])
    assert not report.error, report.error
    assert report.status == "pending"
    assert directory.names(paths.lab()) == []


def test_json_is_where_a_task_has_a_result_or_changes_something() -> None:
    without = {name for name, task in all_tasks().items() if "json" not in task.options}
    assert without == {"lab.shell", "lab.demo"}, "the one becomes a shell, the other prints what three tasks print"
    assert {name for name in READ_ONLY if not all_tasks()[name].answers} == set()


@pytest.mark.parametrize(
    "line", ["inv lab.shell lab-1 --json", "inv lab.demo --json", "inv --json deploy", "fab --json"]
)
def test_elsewhere_it_is_refused(line: str) -> None:
    name, *words = line.split()
    program = Fab(name="Fabric") if name == "fab" else Program(name="Invoke")
    program.parse_core([name, *words])
    with pytest.raises(Refused, match=r"no option '--json'|--json is an option of a task"):
        commandline.check(program, tasks.ns)
