"""A container whose start fails, or is interrupted, is removed like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabfile.errors import Failed
from fabfile.lab import tools
from fabfile.lab.image import Image
from tests import container
from tests.container import Site


class Shell:
    """Notes the scripts that it is given, and fails at one with certain words."""

    def __init__(self, words: str, error: BaseException) -> None:
        self.words, self.error = words, error
        self.scripts: list[str] = []

    def __call__(self, *command: str) -> str:
        self.scripts.append(command[-1])
        if self.words in command[-1]:
            raise self.error
        return ""


@pytest.mark.parametrize("error", [Failed("sh failed"), KeyboardInterrupt()])
def test_a_container_that_did_not_start_is_removed(error: BaseException) -> None:
    shell = Shell("podman run", error)
    with pytest.raises(type(error)), Site(shell, "podman", "", "127.0.0.1", "key").container("one", 1, 1):
        pytest.fail("it started")
    assert shell.scripts[-1] == container.STOP.format(podman="podman", name="one")


@pytest.mark.parametrize("error", [Failed("sh failed"), KeyboardInterrupt()])
def test_what_containers_share_is_removed_if_it_was_made_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    shell = Shell("mount -o loop", error)
    monkeypatch.setattr(tools, "run", shell)
    with pytest.raises(type(error)), container.here(Image("bookworm", tmp_path), "key"):
        pytest.fail("it was made")
    assert shell.scripts[-1] == container.UNSHARED
