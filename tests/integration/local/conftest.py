"""This machine's own shell, with a lock and generation per test, so that the real ones are not touched; and a host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke import Context

from fabfile.remote import lock
from tests.integration.local import sshd
from tests.integration.local.connections import Connect, connected


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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """A host."""
    with sshd.server(tmp_path_factory.mktemp("sshd")) as up:
        yield up


@pytest.fixture
def connect(server: sshd.Server) -> Iterator[Connect]:
    """Makes connections to the host; they are closed at the end."""
    yield from connected(server)
