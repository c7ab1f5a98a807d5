"""The README's first command on a fresh Debian that has git, python3 and an empty cache: minutes, so not by default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration import fresh

LEFT = (
    "ls -A /tmp; for p in /proc/[0-9]*/exe; do readlink $p; done | grep -e linux$ -e qemu -e python; ls /dev/loop[0-9]*"
)


@pytest.mark.parametrize(("suite", "user"), [("bookworm", "root"), ("trixie", fresh.USER)])
def test_the_demo_works_and_leaves_only_its_cache(tmp_path: Path, suite: str, user: str) -> None:
    with fresh.machine(suite, tmp_path) as machine:
        assert machine.run(f"chown -R {user}: .").returncode == 0
        before = machine.run(LEFT).stdout
        done = machine.run("./bootstrap inv lab.demo", user)
        after = machine.run(LEFT).stdout
    assert done.returncode == 0, done.stdout[-5000:]
    assert done.stdout.count("Hello from containerd!") == 2
    assert re.search(r"^total: \d+ s$", done.stdout, re.MULTILINE)
    assert after == before
