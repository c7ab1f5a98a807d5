"""Real machines for the tests: throwaway VMs whose kernel has device mapper.

Everything is deployed once; that machine's disk is kept, and machines for tests of a deployed one start from it. A
machine serves the tests of one file, in order.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest

from fabfile.lab import directory, kinds, machines, mirror
from fabfile.paths import REPOSITORY
from tests.container import has_thin_pools
from tests.integration import forked, leaks, times
from tests.integration import golden as golden_machine
from tests.integration.golden import Golden
from tests.integration.machine import BOOTED, LOGS, Machine, keep_logs, running


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options after `nox -s integration --`."""
    parser.addoption("--keep", action="store_true", help="leave the machines of a failed test running")
    parser.addoption("--suite", default="bookworm", help="Debian generation of the machines")
    parser.addoption(
        "--own-containerd", action="store_true", help="deploy what the machines' suite has, instead of bookworm's"
    )
    parser.addoption("--machine", default="", help="kind of the machines: kvm, uml, tcg, or debian for Debian's kernel")
    parser.addoption(
        "--rounds", type=int, default=2, help="how often a machine loses its power in test_soak, and reboots"
    )
    parser.addoption("--every", type=int, default=40, help="test_faults kills after each so many-th command")
    parser.addoption("--release", action="append", help="release set to test in tests/integration/releases; repeatable")
    parser.addoption("--mirror", default="", help="directory or URL with its files; empty: their official URLs")
    parser.addoption("--first", type=int, help="after which command test_faults kills first, if not after --every")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what takes a release with each one that was asked for, or with all that have official URLs."""
    if "release" in metafunc.fixturenames:
        import toml

        sets = toml.loads((REPOSITORY / "releases.toml").read_text())["set"]
        official = [name for name, parts in sets.items() if not parts.get("from_mirror")]
        metafunc.parametrize("release", metafunc.config.getoption("--release") or official, scope="module")


def pytest_xdist_auto_num_workers() -> int:
    """Four, which keep two cores busy all the time; one if tests may use this kernel's own loop devices.

    Concurrent tests would take each other's devices for their own leaks.
    """
    return 1 if has_thin_pools() else 4


LONGEST = (
    "debian_kernel", "bootstrap", "states", "health_truth", "disks", "not_ours_disks", "metadata_truth", "disk_zoo",
    "not_ours_files", "repair", "nobody_gets_in", "deploy", "states_direct", "direct", "daemon_truth", "fleet",
    "growth", "races", "soak", "reset", "adopt", "states_full", "trixie", "inv", "native", "instance",
)  # fmt: skip
"""Files by the seconds that they took. The longest start first, so that none of them runs alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, each in its own order; those without a machine of their own last."""
    order = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (order.get(item.path.stem, len(order)), item.path.parent.name == "local"))


BEGIN = time()


def first(config: pytest.Config) -> bool:
    """Whether this is the process that starts the others and prints."""
    return not hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """In the first process: create one lab for all, and a file in which they record their waits.

    Runs leave their records in a directory of this test run, not among the developer's own.
    """
    if first(config):
        for each in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(each) == signal.SIG_DFL:  # nohup ignores SIGHUP
                signal.signal(each, signal.default_int_handler)  # so that everything is removed, as after Ctrl-C
        # With it, which containers often set, each fab that a test starts would compile all modules anew.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="containerd-devmapper-state-")
        times.begin(Path(os.environ["XDG_STATE_HOME"]))
        # Not /tmp, which may be in memory: machines write gigabytes.
        place = tempfile.gettempdir() if os.environ.get("TMPDIR") else "/var/tmp"
        os.environ["LAB_DIR"] = tempfile.mkdtemp(prefix="containerd-devmapper-lab-", dir=place)


def packages(config: pytest.Config) -> str:
    """The suite from whose packages the lab's mirror is made."""
    return str(config.getoption("--suite")) if config.getoption("--own-containerd") else mirror.SUITE


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Report the kernel of the machines. What all of them need, mirror and image, is made here at the same time."""
    if config.option.collectonly:
        return []
    suite, name = config.getoption("--suite"), config.getoption("--machine")
    with ThreadPoolExecutor() as both:
        holds, (kind, image) = both.submit(machines.offer, packages(config)), kinds.choose(suite, name)
    holds.result()
    return [f"machines: Debian {suite}, {kind.what}, Linux {image.version}"]


@pytest.hookimpl(tryfirst=True)  # others print, and fail if the reader of their output has ended with Ctrl-C, too
def pytest_unconfigure(config: pytest.Config) -> None:
    """In the first process, after the others have ended: remove the lab, unless a machine in it is to be kept.

    A machine may run although it is not to be kept, if the process that started it was killed.
    """
    if first(config):
        lab = Path(os.environ["LAB_DIR"])
        try:
            if not (config.getoption("--keep") and any(machine.pid for machine in machines.machines())):
                if directory.is_lab(lab):
                    machines.down()
                shutil.rmtree(lab)  # with files of tests that were interrupted
                leaks.gone(lambda: running(lab))
        finally:
            del os.environ["LAB_DIR"]
            shutil.rmtree(os.environ.pop("XDG_STATE_HOME"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report what was kept (the machine of a failed test may have ended with one that passed), and what took time."""
    if not first(terminalreporter.config):
        return
    for file in sorted(LOGS.glob("*-*.log")):
        if file.stat().st_mtime > BEGIN:
            terminalreporter.write_line(file.read_text() if file.match("*-kept.log") else f"kept: {file}")
    files: dict[str, float] = defaultdict(float)
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if isinstance(report, pytest.TestReport):
            files[report.nodeid.partition("::")[0]] += report.duration
    table = {"file": sorted(((seconds, 1, name) for name, seconds in files.items()), reverse=True), **times.end()}
    for what, rows in table.items():
        terminalreporter.section(f"seconds by {what}")
        for seconds, often, name in rows[:25]:
            terminalreporter.write_line(f"{seconds:7.1f}  {name}{f'  ({often} times)' if often > 1 else ''}")


@pytest.fixture(scope="session")
def lab() -> Path:
    """The lab of this run, shared by the processes that run tests."""
    return Path(os.environ["LAB_DIR"])


@pytest.fixture(scope="session")
def kind(request: pytest.FixtureRequest) -> str:
    """The requested kind of machine; empty: the best one that boots here."""
    return str(request.config.getoption("--machine"))


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest) -> str:
    """The Debian generation under test."""
    return str(request.config.getoption("--suite"))


@contextmanager
def started(request: pytest.FixtureRequest, suite: str, **options: Any) -> Iterator[Machine]:
    """Start a VM for the tests of one file. If one of them fails, its logs are kept; with --keep, so is the VM.

    Args:
        request: request of the fixture.
        suite: name of the Debian generation.
        options: see `machines.up`.
    """
    failed = request.session.testsfailed
    asked = str(request.config.getoption("--machine"))
    options.setdefault("kind", asked or getattr(request.module, "KERNEL", ""))
    options.setdefault("mirror", packages(request.config))
    begin = monotonic()
    (new,) = machines.up(1, suite, **options)
    times.note("machine", f"{request.module.__name__} ({new.kind})", monotonic() - begin)
    machine = Machine(new)
    if "base" in options:
        machine.ssh(BOOTED, code=None)  # everything deployed is running by then
    yield machine
    if request.session.testsfailed > failed:
        name = request.module.__name__.rpartition(".")[2]
        keep_logs(machine, name)
        if request.config.getoption("--keep"):
            (LOGS / f"{name}-kept.log").write_text(f"kept: LAB_DIR={os.environ['LAB_DIR']} inv lab.shell {new.name}\n")
            leaks.kept.add(new.directory)
            return
    machines.remove(new.name)
    assert not new.directory.exists()
    # They may belong to a user of their own, and have nothing of our environment.
    leaks.gone(lambda: running(new.directory))


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest, lab: Path, suite: str, kind: str) -> Golden:
    """Everything, deployed once on an empty machine."""
    return golden_machine.find(suite, kind, packages(request.config))


@pytest.fixture(scope="module")
def bare(request: pytest.FixtureRequest, lab: Path, suite: str) -> Iterator[Machine]:
    """A machine on which nothing was done."""
    with started(request, suite) as machine:
        yield machine


@pytest.fixture(scope="module")
def deployed(request: pytest.FixtureRequest, suite: str, golden: Golden) -> Iterator[Machine]:
    """A deployed machine: loop pool, running containerd, pulled hello-world."""
    with started(request, suite, base=golden.disk) as machine:
        yield machine


def alone(request: pytest.FixtureRequest) -> bool:
    """Whether no other tests run at the same time."""
    workers = getattr(request.config, "workerinput", {"workercount": 1})["workercount"]
    return bool(workers == 1)


@pytest.fixture(scope="session", autouse=True)
def session_leak_check() -> Iterator[None]:
    """Check after the fixtures of this session that all processes have ended."""
    with leaks.none(devices=False):
        yield


@pytest.fixture(scope="session", autouse=True)
def forks(session_leak_check: None) -> Iterator[None]:
    """Fab is forked, not started."""
    with forked.serving():
        yield


@pytest.fixture(scope="module", autouse=True)
def module_leak_check(request: pytest.FixtureRequest, forks: None) -> Iterator[None]:
    """Check after the fixtures of each file that this machine is as before; as for `leak_check`."""
    with leaks.none(devices=hasattr(request.module, "native") or (alone(request) and has_thin_pools())):
        yield


@pytest.fixture(autouse=True)
def leak_check(request: pytest.FixtureRequest, module_leak_check: None) -> Iterator[None]:
    """Check after each test that this machine is as before; fixtures with a wider scope exist by then.

    Of concurrent tests, only those of test_native create devices and mounts here; all others do so in a machine.
    """
    with leaks.none(devices=alone(request) or "native" in request.fixturenames):
        yield
