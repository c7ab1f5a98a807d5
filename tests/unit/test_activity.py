"""What takes long says what it is at, to whoever asks, and only then."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import pytest
from invoke import Context

from fabfile import activity, events
from fabfile.activity import Transfer
from fabfile.apply import Progress
from fabfile.artefacts.build import Compiled
from fabfile.plan import Command
from fabfile.remote import target
from tests.unit.fakes import Remote


def test_the_innermost_is_told_of_each_host() -> None:
    assert activity.of("web1") == ""
    with events.on("web1"), activity.doing(lambda: "outer"):
        with activity.doing(lambda: "inner"), events.on("web2"), activity.doing(lambda: "elsewhere"):
            assert [activity.of(host) for host in ("web1", "web2", "")] == ["inner", "elsewhere", ""]
        assert activity.of("web1") == "outer"
    assert activity.of("web1") == ""


def test_it_is_over_when_it_fails() -> None:
    with pytest.raises(OSError), activity.doing(lambda: "it"):
        raise OSError
    assert activity.of("") == ""


def test_bytes_on_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(activity, "monotonic", lambda: now[0])
    transfer = Transfer("uploading containerd", 40 << 20)
    transfer.came, now[0] = 10 << 20, 102.0
    assert str(transfer) == "uploading containerd: 10.0M of 40.0M, 5.0M/s"
    assert re.fullmatch(r"it: 0B, 0B/s", str(Transfer("it")))


CHANGES = [Command(f"change {number}", "true") for number in range(3)]


@pytest.mark.parametrize(
    ("pieces", "now"),
    [
        ([], ""),
        ([b"@@0\n"], "change 0"),
        ([b"@@0\nmuch\n", b"@", b"@", b"1\n"], "change 1"),
        ([b"@@0\n@@2\n"], "change 0"),
        ([b"@@0\n", b"x" * 100_000, b"@@1\n"], "change 0"),
        ([b"@@0\n@@1\n@@2\n@@3\n"], "change 2"),
    ],
)
def test_which_change_is_being_made(pieces: list[bytes], now: str) -> None:
    progress = Progress(CHANGES)
    for piece in pieces:
        progress.hear(piece)
    assert str(progress) == now


def test_packages_are_counted_as_the_log_grows(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    compiled = Compiled("containerd-1", log)
    assert str(compiled) == "building containerd-1: 0 packages compiled"
    with log.open("w") as out:
        print("+ bin/containerd", "internal/goarch", "github.com/containerd/containerd/api/types", sep="\n", file=out)
        out.flush()
        assert str(compiled) == str(compiled) == "building containerd-1: 2 packages compiled"
        out.write("gopkg.in/yaml")
        out.flush()
        assert str(compiled).endswith(": 2 packages compiled")
        print(".v3\nvendor/x/y.go:1:2: undefined: z", file=out)
    assert str(compiled).endswith(": 3 packages compiled")


class Watched(Remote):
    """A host that notes what is said of a file that it has just got."""

    said = ""

    def answer(self, script: str, data: bytes) -> tuple[int, str]:
        """Take it."""
        self.said = activity.of("")
        return super().answer(script, data)


def test_an_upload_is_told_in_bytes(tmp_path: Path) -> None:
    file, host = tmp_path / "file", Watched()
    file.write_bytes(b"x" * (3 << 20))
    target.stage(cast(Context, host), file, "containerd-2.3.1")
    assert host.said.startswith("uploading containerd-2.3.1: 3.0M of 3.0M, ")
