"""What is seen of a fleet at work: on a terminal, in lines, in a file, in a document; hosts are real sshds."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from time import sleep

import pytest

from fabfile.paths import REPOSITORY
from tests.integration.local import sshd
from tests.integration.local.test_interruption import OWN_RUN, inventory, steps
from tests.integration.machine import until

HIDES, SHOWS = "\x1b[?25l", "\x1b[?25h"
"""What hides a terminal's cursor, and shows it again."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[sshd.Server]]:
    """Two hosts."""
    with ExitStack() as stack:
        yield [stack.enter_context(sshd.server(tmp_path_factory.mktemp("sshd"))) for _ in range(2)]


def run(
    servers: list[sshd.Server],
    directory: Path,
    *words: str,
    terminal: bool = True,
    wide: int = 80,
    program: str = "fab",
) -> tuple[int, str, str]:
    """Exit code, what a terminal of so many columns got, and standard output where that is no terminal."""
    (directory / "seconds").write_text("1.2")
    environment = {**os.environ, "HOSTS_FILE": str(inventory(servers, directory)), "TERM": "xterm", "COLUMNS": ""}
    command = [sys.executable, "-m", "tests.integration.local.harmless", program, *words]
    if program == "inv":
        command = [*OWN_RUN, *command]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (25, wide))
    with (directory / "out").open("w") as out:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdin=theirs, stdout=theirs if terminal else out, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
    os.close(theirs)
    got = _all(ours)
    return process.wait(60), got, (directory / "out").read_text()


def test_a_terminal_shows_each_host_while_it_works_and_the_lines_stay(
    servers: list[sshd.Server], tmp_path: Path
) -> None:
    code, screen, _ = run(servers, tmp_path, "-H", "hosts", *steps(tmp_path))
    assert code == 0, screen
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen).replace("\r", "\n")
    assert re.search(r"^h[01]  first  make first  +[0-9] s", plain, re.MULTILINE)
    assert "running 2" in plain
    assert re.search(r"^h0: changed  third .* make third", plain, re.MULTILINE)
    assert plain.rstrip().endswith("ok 0  changed 2  failed 0  unreachable 0")
    table = [line.split()[:2] for line in plain.splitlines() if re.match(r"h[01]  changed", line)]
    assert table == [["h0", "changed"], ["h1", "changed"]]


def test_this_machine_shows_its_step_and_what_it_is_at(tmp_path: Path) -> None:
    code, screen, _ = run([], tmp_path, *steps(tmp_path), program="inv")
    assert code == 0, screen
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen).replace("\r", "\n")
    assert re.search(r"^  second  make second  +[0-9] s", plain, re.MULTILINE)
    assert "running" not in plain
    assert re.search(r"^changed  third .* make third", plain, re.MULTILINE)
    assert screen.count(SHOWS) == screen.count(HIDES) > 0


@pytest.mark.parametrize("words", [("--plain",), ("--dry",)])
def test_this_machine_needs_no_display_in_lines_or_for_a_plan(tmp_path: Path, words: tuple[str, ...]) -> None:
    _, screen, _ = run([], tmp_path, *words, *steps(tmp_path), program="inv")
    assert "third" in screen and "\x1b" not in screen


def test_a_task_without_steps_has_the_terminal_for_itself(tmp_path: Path) -> None:
    code, screen, _ = run([], tmp_path, "look", "--directory", str(tmp_path), program="inv")
    assert (code, screen) == (0, "")


def test_the_table_at_the_end_is_as_wide_as_the_terminal(servers: list[sshd.Server], tmp_path: Path) -> None:
    long = f"echo {'x' * 200}; exit 1"
    code, screen, _ = run(servers, tmp_path, "--plain", "-H", "hosts", *steps(tmp_path), "run", long, wide=60)
    assert code == 1
    table = screen.replace("\r", "").partition("\n\nstep ")[2].splitlines()
    assert [line.split()[0] for line in table[1:4]] == ["first", "second", "third"]
    assert [line.split()[:2] for line in table[6:8]] == [["h0", "failed"], ["h1", "failed"]]
    (again,) = (line for line in table if line.startswith("to retry "))
    assert again.endswith(shlex.join(["run", long])), "a command to paste is never cut"
    table.remove(again)
    assert max(map(len, table)) == 60 and table[6].endswith("…")


@pytest.mark.parametrize("words", [("--plain",), ()])
def test_plain_lines_have_nothing_for_a_terminal(
    servers: list[sshd.Server], tmp_path: Path, words: tuple[str, ...]
) -> None:
    code, screen, out = run(servers, tmp_path, *words, "-H", "hosts", *steps(tmp_path), terminal=bool(words))
    said = screen if words else out
    assert code == 0, screen
    assert "\x1b" not in said
    assert "h0: changed  first" in said and "running" not in said


def test_the_document_and_the_events_are_whole_beside_a_terminal(servers: list[sshd.Server], tmp_path: Path) -> None:
    file = tmp_path / "events"
    words = ("--events", str(file), "-H", "hosts", *steps(tmp_path), "--json")
    code, screen, out = run(servers, tmp_path, *words, terminal=False)
    assert code == 0 and json.loads(out)["exit_code"] == 0, screen
    assert "running 2" in screen
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert (told[0]["event"], told[0]["hosts"]) == ("run-begin", ["h0", "h1"])
    assert (told[-1]["event"], told[-1]["exit_code"]) == ("run-end", 0)
    for host in ("h0", "h1"):
        own = [each for each in told if each.get("host") == host]
        assert [(each["event"], each.get("step")) for each in own] == [
            ("host-begin", None), ("task-begin", None),
            *((kind, step) for step in ("first", "second", "third") for kind in ("step-begin", "step-end")),
            ("task-end", None), ("host-end", None),
        ]  # fmt: skip
        assert all(each["time"] <= later["time"] for each, later in pairwise(own))
        assert own[3]["status"] == "changed" and own[3]["seconds"] >= 1.2


def interrupted(directory: Path, inventory: Path, program: str, *begun: str) -> str:
    """What a terminal gets of a run that Ctrl-C ends once files are there."""
    (directory / "seconds").write_text("1.5")
    environment = {**os.environ, "HOSTS_FILE": str(inventory), "TERM": "xterm"}
    hosts = ("-H", "hosts") if program == "fab" else ()
    command = [sys.executable, "-m", "tests.integration.local.harmless", program, *hosts, *steps(directory)]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *OWN_RUN, *command], cwd=REPOSITORY, env=environment, stdin=theirs,
        stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    until(lambda: all((directory / f"{name}.first.pid").exists() for name in begun), "does not begin", 30)
    sleep(0.8)  # by then it is drawn
    os.write(ours, b"\x03")
    screen = _all(ours)
    assert process.wait(60) == 130, screen
    assert "interrupted: nothing more is started" in screen
    assert screen.count(SHOWS) == screen.count(HIDES) > 0
    assert {path.name for path in directory.glob("*.first")} == {f"{name}.first" for name in begun}
    assert not list(directory.glob("*.second"))
    return screen


def test_ctrl_c_on_a_terminal(servers: list[sshd.Server], tmp_path: Path) -> None:
    screen = interrupted(tmp_path, inventory(servers, tmp_path), "fab", "h0", "h1")
    assert "h0: first, since " in screen and "interrupted before second" in screen
    assert screen.rstrip().endswith("ok 0  changed 0  failed 0  unreachable 0  interrupted 2")


def test_ctrl_c_on_a_terminal_of_this_machine(tmp_path: Path) -> None:
    screen = interrupted(tmp_path, inventory([], tmp_path), "inv", "here")
    assert "  first, since " in screen
    assert "error: interrupted before second" in screen


def _all(terminal: int) -> str:
    """What a terminal gets until nobody writes to it any more."""
    got = b""
    with suppress(OSError):  # that is how it ends
        while piece := os.read(terminal, 1 << 16):
            got += piece
    os.close(terminal)
    return got.decode()
