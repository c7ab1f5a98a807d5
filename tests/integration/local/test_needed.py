"""What ./bootstrap installs for a session of nox."""

from __future__ import annotations

import re
import subprocess

import pytest

from fabfile.paths import REPOSITORY

FUNCTION = re.compile(r"^needed\(\) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
SESSION = re.compile(r"^@nox\.session.*\ndef (\w+)", re.MULTILINE)
WITHOUT_MACHINES = ("lint", "format", "types", "unit")
WITH_CONTAINERS = ("integration", "matrix", "bench")


@pytest.mark.parametrize("session", SESSION.findall((REPOSITORY / "noxfile.py").read_text()))
def test_each_session_gets_what_it_runs(session: str) -> None:
    function = FUNCTION.search((REPOSITORY / "bootstrap").read_text())
    assert function
    script = f'{function[0]}needed "$1"'
    lines = subprocess.check_output(["sh", "-c", script, "sh", f"nox -s {session}"], text=True).splitlines()
    assert ("mmdebstrap mmdebstrap" in lines) == (session not in WITHOUT_MACHINES)
    assert ("podman podman" in lines) == (session in WITH_CONTAINERS)
