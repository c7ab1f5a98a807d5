"""What was uploaded for a change is removed with it, however the change ends."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from fabfile.apply import apply
from fabfile.errors import Failed
from fabfile.facts import Facts
from fabfile.plan import Upload
from fabfile.remote import lock, target
from fabfile.remote.lock import Stale
from fabfile.ssh.machine import Machine
from tests.integration.local import sshd
from tests.integration.local.connections import Connect
from tests.integration.machine import until
from tests.unit import fakes


class Source(msgspec.Struct, frozen=True):
    """A file to upload."""

    file: str
    label: str = "a file"

    def path(self) -> Path:
        """Path of the file."""
        return Path(self.file)


@pytest.fixture
def file(tmp_path: Path) -> Source:
    """A file to upload."""
    (tmp_path / "file").write_text("content")
    return Source(str(tmp_path / "file"))


def have(machine: Machine) -> Facts:
    """The facts of the host."""
    now = fakes.have()
    generation = target.run(machine, f"cat {lock.GENERATION} 2>/dev/null || echo 0").stdout.strip()
    return msgspec.structs.replace(now, system=msgspec.structs.replace(now.system, generation=generation))


def uploads() -> set[Path]:
    """All that are there: the host has the /var/tmp of this machine."""
    return set(Path("/var/tmp").glob("containerd-devmapper.*"))


@pytest.mark.parametrize("script", ["true", "exit 3"])
def test_an_upload_is_removed_with_the_change(connect: Connect, file: Source, tmp_path: Path, script: str) -> None:
    machine, seen = connect(), tmp_path / "seen"
    change = Upload("f", file, f'cp "$1" {seen}; echo "$1" >{seen}.path; {script}')
    try:
        apply(machine, "step", [change], have(machine))
    except Failed:
        assert script == "exit 3"
    assert seen.read_text() == "content"
    assert not Path(seen.with_name("seen.path").read_text().strip()).parent.exists()


def test_an_upload_for_a_plan_that_is_out_of_date_is_removed(connect: Connect, file: Source) -> None:
    machine, before = connect(), uploads()
    stale = have(machine)
    apply(machine, "step", [Upload("f", file, "true")], stale)
    with pytest.raises(Stale):
        apply(machine, "step", [Upload("f", file, "true")], stale)
    assert uploads() == before


def test_an_upload_is_removed_when_the_connection_is_lost(
    server: sshd.Server, connect: Connect, file: Source, tmp_path: Path
) -> None:
    machine, seen, before = connect(), tmp_path / "seen", uploads()
    now = have(machine)

    def lose() -> None:
        until(seen.exists, "does not begin", 20)
        assert uploads() > before
        for session in server.sessions():
            with suppress(ProcessLookupError):  # one of another connection, which was about to end
                os.kill(session, signal.SIGKILL)

    losing = threading.Thread(target=lose)
    losing.start()
    with pytest.raises(Failed, match="the connection was lost"):
        apply(machine, "step", [Upload("f", file, f"touch {seen}; sleep 60")], now)
    losing.join()
    until(lambda: uploads() == before, "is left", 10)


def test_what_a_run_left_is_removed_after_a_day(connect: Connect, file: Source) -> None:
    names = ("old0test00", "new0test00", "of0another", "a.file0000")
    places = {name: Path(f"/var/tmp/containerd-devmapper.{name}") for name in names}
    link = Path("/var/tmp/containerd-devmapper.link0test0")
    try:
        for place in places.values():
            place.mkdir(0o700)
            (place / "file").write_text("left")
        os.chown(places["of0another"], 65534, 65534)
        link.symlink_to(places["new0test00"])
        stale = [places[name] for name in ("old0test00", "of0another", "a.file0000")]
        subprocess.run(["touch", "-h", "-d", "2 days ago", *stale, link], check=True)
        machine = connect()
        target.unstage(machine, [target.stage(machine, file.path(), file.label)])
        assert {name for name, place in places.items() if not place.exists()} == {"old0test00"}
        assert link.is_symlink()
    finally:
        subprocess.run(["rm", "-rf", *places.values(), link], check=True)


@pytest.mark.parametrize(("mode", "code"), [(0o1777, 0), (0o777, 1)])
def test_the_directory_for_uploads_may_be_a_link_to_one_that_is_safe(tmp_path: Path, mode: int, code: int) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real").chmod(mode)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    script = f"set -eu; size=0\n{target.STAGE.replace('/var/tmp', str(link))}"
    done = subprocess.run(["sh", "-c", f"exec 3</dev/null\n{script}"], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout
    assert (f"others may rename what is in {link}: ls -ld {tmp_path}/real\n" in done.stdout) == bool(code)


@pytest.mark.parametrize("owner", [0, 65534])
def test_a_directory_for_uploads_that_others_may_rename_is_not_used(tmp_path: Path, owner: int) -> None:
    (tmp_path / "theirs" / "real").mkdir(parents=True)
    (tmp_path / "theirs" / "real").chmod(0o1777)
    os.chown(tmp_path / "theirs", owner, -1)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "theirs" / "real")
    script = f"set -eu; size=0\n{target.STAGE.replace('/var/tmp', str(link))}"
    done = subprocess.run(["sh", "-c", f"exec 3</dev/null\n{script}"], capture_output=True, text=True, check=False)
    assert (f": ls -ld {tmp_path}/theirs\n" in done.stdout) == bool(owner)
