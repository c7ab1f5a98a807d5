"""This machine's own shell, with a lock and generation per test, so that the real ones are not touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from invoke import Context

from fabfile import lock


@pytest.fixture
def c() -> Context:
    """This machine, as `inv` has it."""
    return Context()


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory used instead of /run."""
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setattr(lock, "LOCK", str(run / "lock"))
    monkeypatch.setattr(lock, "GENERATION", str(run / "generation"))
    return run
