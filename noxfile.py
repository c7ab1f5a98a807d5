"""Sessions: lint, types, unit and integration by default; matrix, soak, bench and others on request.

All sessions run in the locked environment that ./bootstrap creates, so nothing is installed twice.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "none"
nox.options.error_on_missing_interpreters = True

HERE = Path(__file__).parent
BIN = HERE / ".venv" / "bin"


def python(session: nox.Session, *args: str) -> None:
    """Run Python with `args` in the locked environment, regardless of how nox was started."""
    if not (BIN / "pytest").exists():
        session.error(f"there is no locked environment: run ./bootstrap nox -s {session.name}")
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    # After Ctrl-C, time to remove machines and files. By default, nox kills after half a second.
    env = {"PATH": path, "VIRTUAL_ENV": str(BIN.parent)}
    session.run(
        str(BIN / "python"), *args, external=True, env=env, interrupt_timeout=120, terminate_timeout=60
    )  # fmt: skip


def chosen(session: nox.Session, tests: list[str]) -> list[str]:
    """Return `tests`; none if the arguments after `--` name tests."""
    return [] if any(word.startswith("tests/") for word in session.posargs) else tests


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff, codespell, and shellcheck on every plain and rendered script, and parse TOML and templates."""
    python(session, "-m", "ruff", "check", *(session.posargs or ["."]))
    python(session, "-m", "ruff", "format", "--check", *(session.posargs or ["."]))
    python(session, "-m", "codespell_lib")
    python(session, "-m", "tests.lint")


@nox.session(default=False)
def format(session: nox.Session) -> None:
    """Format the Python files and fix what ruff can fix."""
    python(session, "-m", "ruff", "check", "--fix", *(session.posargs or ["."]))
    python(session, "-m", "ruff", "format", *(session.posargs or ["."]))


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy in strict mode on all Python files."""
    python(session, "-m", "mypy", *session.posargs)


@nox.session
def unit(session: nox.Session) -> None:
    """Run the unit tests, which start no process and open no socket. After `--`: options of pytest."""
    python(session, "-m", "pytest", "tests/unit", "-q", "--numprocesses=auto", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Test on throwaway machines. After `--`: --machine KIND, --suite NAME, --keep, tests, options of pytest."""
    tests = ["tests/integration", *(f"--ignore=tests/integration/{name}" for name in ("soak", "releases", "matrix"))]
    options = ["-ra", "-v", "--durations=10", "--numprocesses=auto", "--dist=loadfile", "--no-loadscope-reorder"]
    python(session, "-m", "pytest", *chosen(session, tests), *options, *session.posargs)


@nox.session(default=False)
def matrix(session: nox.Session) -> None:
    """Test lab.demo on a fresh Debian; then, on each Debian's own kernel and with its own containerd, what `releases`
    tests, direct pools and repair. After `--`: as above.
    """
    if not session.posargs:
        python(session, "-m", "pytest", "tests/integration/matrix", "-ra", "-v", "--timeout=3600")
    files = [*(f"test_{name}.py" for name in ("debian_kernel", "direct", "repair")), "releases"]
    tests = chosen(session, [f"tests/integration/{name}" for name in files])
    for suite in ("bookworm", "trixie", "forky"):
        own = [f"--suite={suite}", "--own-containerd", "--release=lab", "--machine=debian"]
        options = ["-ra", "-v", "--numprocesses=auto", "--dist=loadfile"]
        python(session, "-m", "pytest", *tests, *own, *options, *session.posargs)


@nox.session(default=False)
def releases(session: nox.Session) -> None:
    """Deploy each release set from its official servers. After `--`: --release NAME, --mirror DIR, as above."""
    tests = chosen(session, ["tests/integration/releases"])
    python(session, "-m", "pytest", *tests, "-ra", "-v", "--numprocesses=0", "--timeout=3600", *session.posargs)


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """Test power cuts under writing containers, SIGKILL after every command, and full pools, for hours."""
    tests = chosen(session, ["tests/integration/test_soak.py", "tests/integration/soak"])
    options = ["-ra", "-v", "--rounds=20", "--every=1", "--timeout=36000", "--log-cli-level=INFO"]
    python(session, "-m", "pytest", *tests, *options, *session.posargs)


@nox.session(default=False)
def record(session: nox.Session) -> None:
    """Record a fact for the unit tests from a throwaway machine. After `--`: FACT [NAME]; --help."""
    python(session, "-m", "tests.record", *session.posargs)


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Check lock files (hashes, licences, advisories if reachable), download sizes, and files on a host."""
    python(session, "-m", "tests.audit", *session.posargs)
    files = "tests/integration/test_nobody_gets_in.py::test_every_file_that_root_writes_is_in_the_table"
    python(session, "-m", "pytest", files, "-q", "--numprocesses=0")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run the benchmarks in bench/, which compare with a peer or a lower bound. After `--`: names of some of them."""
    lock = ["--no-deps", "--require-hashes", "-r", "requirements-bench.lock"]
    python(session, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *lock)
    files = [*HERE.glob("bench/[!_]*.py"), *HERE.glob("bench/*/__main__.py")]
    names = sorted(file.parent.name if file.stem == "__main__" else file.stem for file in files)
    for name in session.posargs or names:
        python(session, "-m", f"bench.{name}")
