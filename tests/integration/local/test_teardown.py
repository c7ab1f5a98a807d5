"""The removal of what was installed, in a real shell below another root."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fabfile.facts.files import FileFact
from fabfile.instance import OURS, Daemon
from fabfile.plan import Command
from fabfile.pool.remove import RECORDS, emptied
from fabfile.steps import teardown
from tests.unit.steps.conftest import having


def removed(root: Path) -> list[str]:
    """Run the last part of the removal, and return what is left of the records."""
    have = having(files={Daemon().unit_path: FileFact(f"{OURS}.\n[Unit]\n", 0o644)})
    *_, last = teardown.plan(have, Daemon(), force=False)
    assert isinstance(last, Command)
    script = last.script
    for top in ("/etc/", "/run/", "/usr/", "/var/"):
        script = script.replace(top, f"{root}{top}")
    subprocess.run(["sh", "-euc", f"systemctl() {{ :; }}\n{script}"], check=True)
    return sorted(str(path.relative_to(root)) for path in root.rglob("containerd-devmapper*/**"))


def test_what_the_operator_put_aside_stays(tmp_path: Path) -> None:
    records, uploads = tmp_path / RECORDS[1:], tmp_path / "var/tmp"
    aside = records / "before"
    for path in (aside, records / "backup/pool", uploads):
        path.mkdir(parents=True)
    for path in (records / "smoke", records / "smoke-two", aside / "containerd"):
        path.touch()
    assert [*removed(tmp_path)] == [f"{RECORDS[1:]}{of}" for of in ("", "/before")]
    assert (aside / "containerd").exists()
    (aside / "containerd").unlink()
    aside.rmdir()
    assert removed(tmp_path) == []


def test_only_real_directories_that_are_empty_are_removed(tmp_path: Path) -> None:
    for name in ("empty", "full", "behind"):
        (tmp_path / name).mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "link").symlink_to("behind")
    directories = [str(tmp_path / name) for name in ("empty", "full", "link", "gone")]
    script = "\n".join(["set -eu", *emptied(*directories, "/proc")])
    subprocess.run(["sh", "-c", script], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["behind", "full", "link"]
