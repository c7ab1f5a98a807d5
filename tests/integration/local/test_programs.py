"""inv and fab themselves, as processes: exit codes, and standard output that is one JSON document or nothing."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest

from fabfile.output.outcome import FleetReport, Report
from fabfile.paths import REPOSITORY
from tests.integration.local import sshd
from tests.reference import all_tasks

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a command line with an inventory of two unreachable hosts."""
    directory = tmp_path_factory.mktemp("programs")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    text = "[hosts.{}]\naddress = '{}'\nport = {}\n"
    (directory / "hosts.toml").write_text(text.format("a", "127.0.0.1", port) + text.format("b", "127.0.0.2", port))
    (directory / "ansible.ini").write_text("web1 ansible_host=192.0.2.1\n")
    environment = {**os.environ, "HOSTS_FILE": str(directory / "hosts.toml"), "LAB_DIR": str(directory / "lab")}

    def run(line: str, stdout: int | IO[str] = subprocess.PIPE, **more: str) -> subprocess.CompletedProcess[str]:
        program, *words = shlex.split(line.replace("ansible.ini", str(directory / "ansible.ini")))
        return subprocess.run(
            [program if program == "bash" else str(Path(sys.executable).with_name(program)), *words],
            cwd=REPOSITORY, env={**environment, **more}, stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip

    return run


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Standard output, decoded with the types from which docs/json.md is generated."""
    whole: dict[str, Any] = json.loads(done.stdout)
    kind: type[FleetReport] | type[Report] = FleetReport if "hosts" in whole else Report
    report = msgspec.json.decode(done.stdout, type=kind)
    assert (report.schema, report.exit_code) == (1, done.returncode)
    machines = report.hosts.values() if isinstance(report, FleetReport) else [report]
    for task in (task for machine in machines for task in machine.tasks if task.result is not None):
        msgspec.json.decode(json.dumps(task.result), type=all_tasks()[task.task].answers)
    return whole


@pytest.mark.parametrize(("line", "code"), [("inv inventory.show --json", 0), ("fab -H a status --json", 4)])
def test_settings_of_invoke_and_fabric_for_other_projects_are_not_read(
    run: Run, tmp_path: Path, line: str, code: int
) -> None:
    for program in ("invoke", "fabric"):
        (tmp_path / f".{program}.yaml").write_text("run: [broken\n")
        (tmp_path / f".{program}.py").write_text("raise SystemExit('a module of a stranger')\n")
    (tmp_path / "runtime.json").write_text("{")
    variables = {"INVOKE_RUNTIME_CONFIG": str(tmp_path / "runtime.json"), "INVOKE_RUN_WATCHERS": "1"}
    assert document(run(line, HOME=str(tmp_path), **variables))["exit_code"] == code


CODES = {
    "inv --list": 0,
    "inv --help deploy": 0,
    "inv deplooy": 2,
    "inv deploy --relese 2.3": 2,
    "inv deploy --release": 2,
    "inv --nope deploy": 2,
    "inv -c nope status": 2,
    "inv --dry": 2,
    "fab -H deploy": 2,
    "fab deploy": 2,
    "fab -H 192.0.2.1 status": 2,
    "fab -H 'a b' deploy": 2,
    "fab -H '' deploy": 2,
    "fab -H ' , ' deploy": 2,
    "fab -H a --limit '' status": 2,
    "fab --retry-from= status": 2,
    "fab -H -x deploy": 2,
    "fab -H a -H b deploy": 2,
    "fab -H a,b status": 4,
    "fab -H a --dry deploy": 4,
    "inv pool.loop --threshold 80%": 2,
    "inv pool.loop --threshold 0": 2,
    "inv lab.up --memory 2G": 2,
    "inv --dry smoke": 3,
    "inv --dry run 'rm -rf /nowhere'": 3,
    "inv --dry lab.up": 3,
    "inv --dry lab.demo": 3,
    "inv --dry lab.down": 0,
    "inv --dry lab.shell lab-1": 3,
}
"""Command line → exit code."""


@pytest.mark.parametrize("line", CODES)
def test_exit_code(run: Run, line: str) -> None:
    done = run(line)
    assert done.returncode == CODES[line], done
    assert "Traceback" not in done.stdout + done.stderr
    if CODES[line] == 2:
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")


def test_a_command_without_a_task_does_not_reach_a_host_whose_key_is_unknown(tmp_path: Path) -> None:
    with sshd.server(tmp_path) as up:
        host, key, made = f"root@127.0.0.1:{up.ports[0]}", str(tmp_path / "id"), tmp_path / "made"
        done = subprocess.run(
            [str(Path(sys.executable).with_name("fab")), "-H", host, "-i", key, "--", "touch", str(made)],
            cwd=REPOSITORY, env={**os.environ, "HOME": str(tmp_path / "etc")}, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert not made.exists() and "Accepted" not in up.log
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: a bare command after -- is not a task\n"
        f"hint: fab -H {host} run --command 'touch {made}'\n"
    )  # fmt: skip


@pytest.mark.parametrize("typed", ["run 'a", "pool.loop --threshold 0 --", "pool.loop --size -"])
def test_completing_a_line_that_is_wrong_prints_no_error(run: Run, typed: str) -> None:
    done = run(shlex.join(["inv", "--complete", "--", f"inv {typed}"]))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("line", ["fab --help", "fab"])
def test_help_lists_our_options_in_front_of_the_task(run: Run, line: str) -> None:
    said = run(line).stdout
    for option in ("--batches", "--max-fail", "--retry-from", "--sudo-password-file", "--wait-lock"):
        assert said.count(f" {option}=") == 1, said
    assert "show the plan, and change nothing" in said


def test_run_has_the_shells_own_echo(run: Run) -> None:
    whole = document(run("inv run 'IFS=,; echo -n x; echo y z' --json"))
    assert whole["tasks"][-1]["result"]["stdout"] == "xy z\n"


DOCUMENTS = {
    "inv lab.list --json": 0,
    "inv lab.list --json lab.list": 0,
    "inv --dry smoke --json": 3,
    "inv --dry lab.up --json": 3,
    "inv --dry run true --json": 3,
    "inv --dry smoke run true --json": 3,
    "inv smoke --registry ftp://x --json": 2,
    "inv deplooy --json": 2,
    "inv -f x status --json": 2,
    "inv -r /nonexistent status --json": 2,
    "fab -r /nonexistent -H a status --json": 2,
    "fab -H a --events ~nouser/x status --json": 2,
    "inv deploy --json --size 100GB": 2,
    "fab -H a status --json": 4,
    "fab -H a,b --dry deploy --json": 4,
    "fab -H 192.0.2.1 status --json": 2,
    "fab -H a deploy --relese 2.3 --json": 2,
    "fab status --json": 2,
    "fab -H a --json": 2,
}
"""Command line → exit code, which the JSON document also states."""


@pytest.mark.parametrize("line", DOCUMENTS)
def test_standard_output_is_one_document(run: Run, line: str) -> None:
    done = run(line)
    assert done.returncode == DOCUMENTS[line], done
    whole = document(done)
    assert ("hosts" in whole) == line.startswith("fab")
    if done.returncode in (2, 4):
        assert done.stderr.count("error: ") >= 1, "a person reads it too"


def test_the_limit_of_the_command_line_is_that_of_a_connection(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        done = run(f"fab -t 1 -H root@127.0.0.1:{full.getsockname()[1]} status")
    assert done.returncode == 4 and "connect_timeout is 1 s" in done.stderr, done


def test_a_secret_that_would_not_be_used_is_not_asked_for(run: Run) -> None:
    for option in ("--prompt-for-login-password", "--prompt-for-passphrase"):
        done = run(f"fab {option} -H a status")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {option} is not supported\n")
    assert " ".join(run("fab --help").stdout.split()).count("not supported: ") == 9


def test_the_document_has_every_host_with_its_error(run: Run) -> None:
    hosts = document(run("fab -H a,b status --json"))["hosts"]
    assert {name: host["status"] for name, host in hosts.items()} == {"a": "unreachable", "b": "unreachable"}
    assert all("cannot connect" in host["error"]["what"] for host in hosts.values())


def test_the_command_to_try_again_works_and_changes_no_more_than_the_one_before(run: Run) -> None:
    line, records = "fab --dry -H hosts --limit a,b deploy", set()
    for _ in range(2):
        done = run(line)
        assert done.returncode == 4, done
        (line,) = [each.partition(": ")[2] for each in done.stdout.splitlines() if each.startswith("to retry ")]
        record = shlex.split(line)[2]
        assert line == f"fab --retry-from {record} --dry deploy"
        records.add(record)
    assert len(records) == 2


def test_the_document_has_the_plan(run: Run) -> None:
    (task,) = document(run("inv --dry run 'echo $HOME' --json"))["tasks"]
    assert [(step["status"], step["reason"]) for step in task["steps"]] == [("pending", "echo $HOME")]


def test_an_inventory_that_is_wrong_is_a_document_too(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "hosts.toml"
    wrong.write_text("[hosts.a]\naddress = 'root@h'\n")
    fab = str(Path(sys.executable).with_name("fab"))
    done = subprocess.run(
        [fab, "-H", "a", "status", "--json"],
        cwd=REPOSITORY, env={**os.environ, "HOSTS_FILE": str(wrong)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{wrong}: hosts.a.address: 'root@h' has a user in it" == document(done)["error"]["what"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("inv inventory.export", 1),
        ("inv inventory.export --format ssh-config", 1),
        ("inv inventory.import --file ansible.ini", 1),
        ("inv inventory.show", 1),
        ("inv run 'echo a'", 1),
        ("fab -H a,b inventory.show", 1),
        ("inv --dry smoke", 3),
        ("inv --dry smoke run true", 3),
        ("inv --list", 1),
        ("inv --help pool.loop", 1),
        ("fab --version", 1),
        ("fab", 1),
    ],
)
def test_an_answer_that_cannot_be_written_is_an_error(run: Run, line: str, code: int) -> None:
    with Path("/dev/full").open("w", encoding="ascii") as full:
        done = run(line, stdout=full)
    assert done.returncode == code, done
    assert "error: the output cannot be written\n  [Errno 28]" in done.stderr, done
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done


@pytest.mark.parametrize(
    ("line", "code"), [("inv --dry smoke --json", 3), ("inv deplooy --json", 2), ("fab -H a status --json", 4)]
)
def test_with_standard_error_closed_the_document_is_still_all_that_is_printed(run: Run, line: str, code: int) -> None:
    done = run(f"bash -c {shlex.quote(f'{Path(sys.executable).parent}/{line} 2>&-')}")
    assert (done.returncode, document(done)["exit_code"]) == (code, code)


def test_with_standard_input_closed_nobody_can_be_asked(run: Run) -> None:
    done = run(f"bash -c {shlex.quote(f'{Path(sys.executable).parent}/inv --prompt-for-sudo-password run true <&-')}")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done


INV = shlex.quote(str(Path(sys.executable).with_name("inv")))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"{{ {INV} --dry smoke run true; echo code $? >&2; }} | true", "code 3\n"),
        (f"{INV} --dry smoke run true >/dev/full; echo code $? >&2", "code 3\n"),
        (f"{INV} --dry run true --json >/dev/full", "error: the JSON document cannot be written\n"),
        (f"{INV} --dry run true >&-; echo code $? >&2", "code 3\n"),
        (f"{INV} --list | head -n 1", ""),
        (f"{INV} --help pool.loop | head -n 1", ""),
        (f"PYTHONIOENCODING=ascii {INV} --help pool.loop", ""),
        (f"PYTHONIOENCODING=ascii {INV} --dry run 'echo → ü'", ""),
    ],
)
def test_output_that_cannot_be_written_ends_nothing(line: str, says: str) -> None:
    done = subprocess.run(["bash", "-c", line], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert says in done.stderr
    assert says or not done.stderr
    assert "Traceback" not in done.stderr
