"""Directories on the controller follow the XDG Base Directory Specification."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabfile import paths

PLACES = {"XDG_CACHE_HOME": (paths.cache, ".cache"), "XDG_STATE_HOME": (paths.state, ".local/state")}


@pytest.mark.parametrize("variable", PLACES)
@pytest.mark.parametrize("value", ["", "relative", "./here"])
def test_a_relative_path_is_ignored(monkeypatch: pytest.MonkeyPatch, home: Path, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    place, default = PLACES[variable]
    assert place() == home / default / "containerd-devmapper"
    monkeypatch.setenv(variable, "/srv/x")
    assert place() == Path("/srv/x/containerd-devmapper")


def test_sockets_are_in_the_cache_without_a_directory_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "run")
    assert paths.sockets() == paths.cache() / "ssh"
