"""Lines about a host are those that OpenSSH itself finds."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from fabfile.ssh import known_lines
from tests.unit.ssh.test_known_hosts import hashed

NAMES = ("h", "g", "a.example", "b.example", "192.0.2.7", "[h]:2222", "[192.0.2.7]:2222", "")
HOSTS = (
    "h", "h,g", "*", "*.example", "*.example,!a.example", "!h,*", "192.0.2.?", "[h]:2222", "[h]:*", "[*]:2222", "[hg]",
    "H", "h,", ",", "!", "h?", hashed("h"), hashed("[h]:2222"), hashed("a.example", b"another salt of 20 b"),
)  # fmt: skip


@pytest.mark.parametrize("name", [name for name in NAMES if name])
def test_the_lines_about_a_host_are_those_of_ssh_keygen(tmp_path: Path, name: str) -> None:
    public = tmp_path / "key.pub"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", public.with_suffix("")], check=True)
    kind, key, *_ = public.read_text().split()
    # A comment tells the lines apart.
    lines = [f"{host} {kind} {key} {number}" for number, host in enumerate(HOSTS)]
    file = tmp_path / "known"
    file.write_text("\n".join(lines) + "\n")
    found = subprocess.run(
        ["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True, check=False
    ).stdout  # fmt: skip
    expected = {int(number) - 1 for number in re.findall(r"found: line (\d+)", found)}
    ours = {int(line.split()[-1]) for line in known_lines.index(file).lines(name.lower())}
    assert ours == expected
