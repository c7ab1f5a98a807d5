"""What is checked: lint, types, unit, integration; bench on request.

Every session runs in the one locked environment that ./bootstrap made: nothing is installed twice.
"""

from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.needs_version = ">=2025.5.1"

HERE = Path(__file__).parent


def python(session: nox.Session, *args: str) -> None:
    """Run Python with `args` in the locked environment."""
    session.run("python", *args, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, shellcheck on every plain and rendered script, TOML and Jinja."""
    python(session, "-m", "ruff", "check", *(session.posargs or ["."]))
    python(session, "-m", "ruff", "format", "--check", ".")
    python(session, "-m", "tests.lint")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, on fabfile/ and tasks.py."""
    python(session, "-m", "mypy", *session.posargs)


@nox.session
def unit(session: nox.Session) -> None:
    """No subprocess, no socket, seconds."""
    python(session, "-m", "pytest", "tests/unit", "-q", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Throwaway machines on a real kernel. After `--`: --keep, --suite NAME, or any option of pytest."""
    python(session, "-m", "pytest", "tests/integration", "-ra", "-v", "--durations=10", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Every script in bench/: ratios against a peer or a floor measured in the same run."""
    for script in sorted(HERE.glob("bench/*.py")):
        python(session, str(script.relative_to(HERE)), *session.posargs)
