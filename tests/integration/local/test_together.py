"""What an operator of several hosts reads: plans folded, status and doctor as tables; hosts are real sshds."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fabfile.paths import REPOSITORY
from tests.integration.local import sshd

PROGRAM = (sys.executable, "-m", "tests.integration.local.harmless", "fab")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """Five hosts."""
    with sshd.server(tmp_path_factory.mktemp("sshd"), hosts=5) as up:
        yield up


def environment(server: sshd.Server) -> dict[str, str]:
    """With an inventory: web01 to web05, and a host that is down."""
    file = server.inventory(**{f"web{number + 1:02}": number for number in range(5)})
    with file.open("a") as inventory:
        inventory.write("[hosts.down]\naddress = '127.0.0.1'\nport = 1\n")
    return {**os.environ, "HOSTS_FILE": str(file), "TERM": "xterm", "COLUMNS": ""}


def run(server: sshd.Server, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error, neither of them a terminal."""
    done = subprocess.run(
        [*PROGRAM, *words], cwd=REPOSITORY, env=environment(server), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def steps(directory: Path) -> tuple[str, ...]:
    """The words of a task with three steps, of which web04 has taken the first."""
    (directory / "web04.first").touch()
    return "steps", "--directory", str(directory)


def test_equal_plans_are_one(server: sshd.Server, tmp_path: Path) -> None:
    code, out, err = run(server, "--dry", "-H", "web[01-05],down", *steps(tmp_path))
    assert code == 3, err
    plans, _, summary = out.partition("no answer from 1 host: down\n")
    assert "pending 5" in summary
    assert plans.splitlines() == [
        "",
        "4 hosts: web[01-03,05]",
        "pending  first",
        "    * make first",
        "pending  second  planned again after first",
        "    * make second",
        "pending  third  planned again after first",
        "    * make third",
        "",
        "1 host: web04",
        "ok       first",
        "pending  second",
        "    * make second",
        "pending  third  planned again after second",
        "    * make third",
        "",
    ]
    assert "down: error: down (root@127.0.0.1:1): cannot connect" in err
    assert list(tmp_path.iterdir()) == [tmp_path / "web04.first"], "nothing was done"


def test_with_diff_the_commands_must_be_equal_too(server: sshd.Server, tmp_path: Path) -> None:
    code, out, err = run(server, "--dry", "-H", "web[01-02]", *steps(tmp_path), "--diff")
    assert code == 3, err
    assert re.findall(r"^\d+ hosts?: .*", out, re.MULTILINE) == ["1 host: web01", "1 host: web02"]
    assert f"      $ echo $$ >{tmp_path}/web01.first.pid;" in out


def test_of_a_host_alone_nothing_is_folded(server: sshd.Server, tmp_path: Path) -> None:
    code, out, _ = run(server, "--dry", "-H", "web04", *steps(tmp_path))
    assert code == 3
    assert out.startswith("web04: ok       first\nweb04: pending  second\nweb04:     * make second\n")
    _, out, _ = run(server, "-H", "web04", "status")
    assert out.startswith("web04: system      ")


def test_the_document_is_as_ever_and_the_plan_beside_it_is_folded(server: sshd.Server, tmp_path: Path) -> None:
    code, out, err = run(server, "--dry", "-H", "web[01-05]", *steps(tmp_path), "--json")
    document = json.loads(out)
    assert code == document["exit_code"] == 3
    for number in range(1, 6):
        (task,) = document["hosts"][f"web{number:02}"]["tasks"]
        assert [step["status"] for step in task["steps"]] == ["ok" if number == 4 else "pending", *["pending"] * 2]
        assert set(task) == {"task", "status", "seconds", "steps", "skipped", "result", "error", "unfinished"}
    assert "4 hosts: web[01-03,05]" in err
    code, out, err = run(server, "-H", "web[01-02]", "doctor", "--json")
    report = json.loads(out)["hosts"]["web02"]
    assert code == 1 and report["status"] == "failed"
    assert report["error"]["details"] == "see above"
    assert {"systemd", "pool"} <= {check["what"] for check in report["tasks"][0]["result"]}
    assert "→" not in err


def test_status_is_a_table_and_doctor_says_each_finding_once(server: sshd.Server) -> None:
    code, out, err = run(server, "-H", "web[01-05],down", "status", "doctor")
    assert code == 1, err
    status, _, doctor = out.partition("\ndoctor:\n")
    lines = status.splitlines()
    assert lines[1] == "status:"
    assert lines[2].split() == ["host", "kernel", "containerd", "runc", "pool", "size", "data", "metadata"]
    assert [line.split()[0] for line in lines[3:8]] == [f"web{number:02}" for number in range(1, 6)]
    assert os.uname().release in lines[3]
    assert doctor.count("5 hosts: web[01-05]") == len(re.findall(r"^(fail|warn)  ", doctor, re.MULTILINE)) > 1
    assert doctor.startswith("fail  ")
    assert "→ fab -H 'web[01-05]' deploy" in doctor
    assert max(len(line) for line in out.splitlines() if "→" not in line) <= 100
    assert "error: doctor" not in err, "the table has it"
    assert status.count("no answer from 1 host: down") == doctor.count("no answer from 1 host: down") == 1


@pytest.mark.parametrize(("plain", "most"), [(False, 60), (True, 100)])
def test_a_table_is_as_wide_as_the_terminal(server: sshd.Server, plain: bool, most: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 60, 0, 0))
    slow = ["run", "--command", "sleep 1"]  # what ends soon is not drawn
    words = [*PROGRAM, *(["--plain"] if plain else []), "-H", "web[01-05]", *slow, "status"]
    process = subprocess.Popen(
        words, cwd=REPOSITORY, env=environment(server), stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    screen = b""
    with suppress(OSError):  # that is how it ends
        while piece := os.read(ours, 1 << 16):
            screen += piece
    os.close(ours)
    assert process.wait(60) == 0, screen
    assert (b"\x1b" in screen) != plain, "what hosts do is drawn"
    _, _, table = screen.decode().rpartition("host ")
    rows = ["host " + table.splitlines()[0], *table.partition("\r\n\r\n")[0].splitlines()[1:]]
    assert len([row for row in rows if row.startswith("web0")]) == 5
    assert max(map(len, rows)) <= most, screen
