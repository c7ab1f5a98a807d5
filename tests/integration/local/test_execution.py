"""Scripts on the local machine, by the same code path as on a remote host: input, output, limits and termination."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from time import monotonic

import pytest
from invoke import Context

from fabfile.errors import Failed
from fabfile.remote import execution, target
from fabfile.remote.execution import ScriptResult
from tests.integration.leaks import marked
from tests.integration.machine import until

NAME = "CONTAINERD_DEVMAPPER_SCRIPT"
"""Set in the environment of the scripts, to tell them from those of other tests running at the same time."""


@pytest.fixture
def c() -> Context:
    """This machine."""
    return Context()


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("echo a; echo b >&2; exit 3", ScriptResult(3, "a\n", "b\n")),
        ("printf 'no line feed'", ScriptResult(0, "no line feed")),
        ("cat; read -r x || echo 'no input'", ScriptResult(0, "no input\n")),
        ("printf '\\377\\200'", ScriptResult(0, b"\xff\x80".decode(errors="surrogateescape"))),
        ('id -u; echo "${HOME:+home}"', ScriptResult(0, "0\nhome\n")),
        ("sleep 0.1 & wait; echo waited", ScriptResult(0, "waited\n")),
        (r"echo 'CORP\\nobody' '\tab' '\c'", ScriptResult(0, "CORP\\\\nobody \\tab \\c\n")),
    ],
)
def test_a_script_returns_output_and_exit_code(c: Context, script: str, answer: ScriptResult) -> None:
    assert target.run(c, script) == answer


def test_a_script_may_be_longer_than_a_command_line(c: Context) -> None:
    assert target.run(c, "".join(f": {number:>100}\n" for number in range(10_000)) + "echo end").stdout == "end\n"


def test_much_output_comes_whole_and_at_once(c: Context) -> None:
    begin = monotonic()
    assert len(target.run(c, "head -c 50000000 /dev/zero").stdout) == 50_000_000
    assert monotonic() - begin < 10


def test_endless_output_is_stopped(c: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "endless")
    with pytest.raises(Failed, match="printed more than 1 MiB"):
        execution.script(c, "yes", most=1 << 20)
    until(lambda: not list(marked(f"{NAME}=endless")), "still runs", 10)


def test_a_script_that_hangs_is_stopped_with_all_its_processes(c: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = f"{uuid.uuid4().int % 10**7}"
    monkeypatch.setenv(NAME, mark)
    begin = monotonic()
    with pytest.raises(Failed, match="took longer than 1 s"):
        execution.script(c, f"sleep {mark} & sleep {mark}", limit=1)
    assert monotonic() - begin < 5
    until(lambda: not list(marked(f"{NAME}={mark}")), "still runs", 10)


def test_no_part_of_a_script_is_in_a_command_line(c: Context) -> None:
    secret = uuid.uuid4().hex
    seen = target.run(c, f"password={secret}; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; : $password").stdout
    assert "head -c" in seen
    assert secret not in seen


def test_a_script_ends_when_whoever_waits_for_it_is_killed() -> None:
    mark = f"{uuid.uuid4().int % 10**7}"
    program = "from invoke import Context; from fabfile.remote import target; "
    program += f"target.run(Context(), 'sleep {mark}; true')"
    waits = subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[3], env=os.environ | {NAME: mark}
    )
    until(lambda: running(mark) == 1, "does not run", 10)
    assert len(list(marked(f"{NAME}={mark}"))) > 2  # the program, the script and its watch
    os.kill(waits.pid, signal.SIGKILL)
    waits.wait()
    until(lambda: not list(marked(f"{NAME}={mark}")), "still runs", 10)


def running(seconds: str) -> int:
    """How many programs `sleep SECONDS` there are."""
    count = 0
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if file.read_bytes() == f"sleep\0{seconds}\0".encode():
                count += 1
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return count


def test_scripts_are_printed_on_request(
    c: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target.run(c, "echo quiet")
    monkeypatch.setenv(execution.DEBUG, "1")
    target.run(c, "echo loud; exit 3")
    out, err = capsys.readouterr()
    assert out == "" and "quiet" not in err
    assert "echo loud; exit 3\n# 0." in err and " s, exit code 3, printed " in err


def test_data_is_read_from_descriptor_3(c: Context) -> None:
    data = [bytes([number % 256]) * 100_000 for number in range(50)]
    answer = execution.script(c, "cat <&3 | sha256sum", data=iter(data))
    assert answer.stdout.split()[0] == hashlib.sha256(b"".join(data)).hexdigest()


def test_a_syntax_error_in_a_script_is_reported_by_the_shell(c: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "mistake")
    answer = target.run(c, "if true; then")
    assert answer.exited == 2 and "yntax error" in answer.stderr
    until(lambda: not list(marked(f"{NAME}=mistake")), "leaves its watch behind", 10)
