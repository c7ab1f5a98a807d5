"""./bootstrap on a fresh Debian that has git, python3 and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.paths import REPOSITORY
from tests.integration import fresh

INSTALLS = "bootstrap: installing with apt: ca-certificates python3-venv"
MAKES = "bootstrap: making .venv from requirements.lock"
TIMED = 'start=$(date +%s%N); {command} || exit; echo "took $((($(date +%s%N) - start) / 1000000)) ms"'
INTERRUPTED = """
setsid ./bootstrap inv --list & leader=$!
until [ -e {appears} ]; do sleep 0.02; kill -0 $leader || exit 3; done
kill -9 -$leader; wait $leader; echo "ended by $?"
! ls .venvs/*/stamp 2>/dev/null
"""
TOGETHER = """
./bootstrap inv --list >/tmp/one 2>&1 & one=$!
./bootstrap inv --list >/tmp/two 2>&1 & two=$!
wait $one; first=$?; wait $two; second=$?
cat /tmp/one /tmp/two; echo "exit codes $first $second"
"""
CHECKS = """
mkdir /tmp/home; touch /tmp/home/begun
git init -q . && git add -A && exec ./bootstrap nox -s lint types unit
"""
NOTES_PROXY = """
printf '#!/bin/sh\\necho "$http_proxy $https_proxy" >/tmp/proxy; exit 1\\n' >/usr/local/sbin/apt-get
chmod +x /usr/local/sbin/apt-get
"""
OF_APT = re.compile(r"/var/(lib/(dpkg|apt)|cache|log)/|/etc/|/usr/")
"""The files that installing shellcheck writes."""

OLD_PYTHON = r"printf '#!/bin/sh\n[ $1 = -c ] && echo || echo Python 3.9.2\n'"


@pytest.fixture(scope="module")
def bookworm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fresh.Machine]:
    """Debian 12."""
    with fresh.machine("bookworm", tmp_path_factory.mktemp("checkout")) as machine:
        yield machine


@pytest.fixture(scope="module")
def trixie(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fresh.Machine]:
    """Debian 13, with a checkout that belongs to a user who has sudo."""
    with fresh.machine("trixie", tmp_path_factory.mktemp("checkout")) as machine:
        assert machine.run(f"chown -R {fresh.USER}: .").returncode == 0
        yield machine


def check_programs(machine: fresh.Machine, user: str) -> None:
    """A mistake that Fabric finds itself is told as any other."""
    mistake = machine.run("./bootstrap fab -H --dry deploy", user)
    assert (mistake.returncode, mistake.stdout.splitlines()[0]) == (2, "error: --hosts needs a value"), mistake.stdout


def check_second_run(machine: fresh.Machine, user: str) -> None:
    """Nothing to do: silent, and under a second."""
    done = machine.run(TIMED.format(command="./bootstrap inv --version"), user)
    assert done.returncode == 0, done.stdout
    assert "bootstrap:" not in done.stdout
    took = re.search(r"took (\d+) ms", done.stdout)
    assert took and int(took[1]) < 1000, done.stdout


@pytest.mark.parametrize(
    ("prepare", "user", "what", "hint"),
    [
        (
            "rm -f /usr/bin/sudo",
            fresh.USER,
            "lacks ca-certificates python3-venv; installing them needs root, and sudo is not installed",
            "as root: apt-get install",
        ),
        (
            f"rm /etc/sudoers.d/{fresh.USER}",
            fresh.USER,
            "installing them needs root, and sudo refuses builder",
            "as root: apt-get install",
        ),
        ("mv /usr/bin/apt-get /usr/bin/apt-gone", "root", "no apt-get", "its own package manager"),
        ("mv /usr/bin/python3 /usr/bin/python-gone", "root", "python3 is missing", "apt-get install python3"),
        (
            f"cd /usr/local/bin; {OLD_PYTHON} >python3; chmod +x python3",
            "root",
            "Python 3.9.2",
            "Debian 12",
        ),
    ],
    ids=["no sudo", "no rights", "no apt", "no python", "old python"],
)
def test_what_it_cannot_do_is_one_clear_error(tmp_path: Path, prepare: str, user: str, what: str, hint: str) -> None:
    with fresh.machine("bookworm", tmp_path) as machine:
        assert machine.run(prepare).returncode == 0
        done = machine.run("./bootstrap inv --list", user)
        left = machine.run("ls -d .venv").returncode == 0
    assert done.returncode == 1, done.stdout
    assert what in done.stdout and hint in done.stdout
    assert len(done.stdout.splitlines()) == 2, done.stdout
    assert not left


def test_root_interrupted_twice_then_finished(bookworm: fresh.Machine) -> None:
    for appears in ("/var/lib/dpkg/info/python3-pip-whl.list", ".venvs/*/lib/python3.11/site-packages/pip"):
        done = bookworm.run(INTERRUPTED.format(appears=appears))
        assert done.returncode == 0 and "ended by 137" in done.stdout, done.stdout
        assert INSTALLS in done.stdout
    assert MAKES in done.stdout

    again = bookworm.run("./bootstrap inv --list")
    assert again.returncode == 0, again.stdout
    assert "bootstrap: installing" not in again.stdout
    assert "deploy" in again.stdout and "lab.up" in again.stdout
    check_second_run(bookworm, "root")
    check_programs(bookworm, "root")


def test_apt_under_sudo_uses_the_users_proxy(trixie: fresh.Machine) -> None:
    assert trixie.run(NOTES_PROXY).returncode == 0
    proxies = {"http_proxy": "http://u:a b@p.example:1", "https_proxy": "http://q.example:2"}
    done = trixie.run("./bootstrap nox -s integration", fresh.USER, **proxies)
    noted = trixie.run("cat /tmp/proxy; rm -f /tmp/proxy /usr/local/sbin/apt-get")
    assert done.returncode == 1 and "apt-get could not install" in done.stdout, done.stdout
    assert noted.stdout == f"{' '.join(proxies.values())}\n"


def test_sudo_user_twice_at_once(trixie: fresh.Machine) -> None:
    both = trixie.run(TOGETHER, fresh.USER)
    assert "exit codes 0 0" in both.stdout, both.stdout
    assert both.stdout.count(INSTALLS) == 1
    assert both.stdout.count(MAKES) == 1
    assert both.stdout.count("another bootstrap is running here") == 1
    assert trixie.run("test $(stat -c %U .venv) = builder").returncode == 0
    check_second_run(trixie, fresh.USER)
    check_programs(trixie, fresh.USER)


@pytest.mark.parametrize(("suite", "user"), [("bookworm", "root"), ("trixie", fresh.USER)])
def test_sessions_without_a_machine_pass_with_debians_python(
    request: pytest.FixtureRequest, suite: str, user: str
) -> None:
    """The README's second command, but for integration: from an empty home, and with what `./bootstrap` installs."""
    machine: fresh.Machine = request.getfixturevalue(suite)
    done = machine.run(CHECKS, user, HOME="/tmp/home", PYTEST_XDIST_AUTO_NUM_WORKERS="0")
    assert done.returncode == 0, done.stdout[-5000:]
    for session in ("lint", "types", "unit"):
        assert f"nox > Session {session} was successful" in done.stdout
    assert re.search(r"\d{4} passed", done.stdout)
    left = machine.run(
        "find / -xdev -newer /tmp/home/begun -type f ! -path '*/checkout/*' ! -path '/tmp/*' 2>/dev/null", user
    )
    assert [line for line in left.stdout.splitlines() if not OF_APT.match(line)] == []


def test_inv_on_a_machine_that_cannot_have_a_pool_says_why_and_touches_nothing(bookworm: fresh.Machine) -> None:
    own = "-not -path '*/checkout/*' -not -path '/run/*' -not -path '/root/.local/state/containerd-devmapper/runs/*'"
    look = f"find / -xdev -newer /tmp/before -type f {own} | sort"
    assert bookworm.run("./bootstrap true; touch /tmp/before; sleep 1").returncode == 0
    done = bookworm.run("./bootstrap inv pool.loop --size 1G")
    assert done.returncode == 2, done.stdout
    assert "error: the host does not run systemd" in done.stdout
    lab = bookworm.run(". .venv/bin/activate; inv lab.up")
    assert lab.returncode == 2, lab.stdout
    assert "hint: apt-get install --no-install-recommends" in lab.stdout and "qemu-system-x86" in lab.stdout
    assert bookworm.run(look).stdout == ""


def test_another_lock_file_gives_another_environment(bookworm: fresh.Machine) -> None:
    """The environment follows the lock file, also when the old one is active."""
    assert bookworm.run("./bootstrap true").returncode == 0
    lock = r"sed '/^invoke==/,/[^\\]$/!d' requirements.lock >lock && cat lock >requirements.lock"
    active = bookworm.run(f". .venv/bin/activate && {lock} && ./bootstrap inv --version")
    assert active.returncode == 0, active.stdout
    assert MAKES in active.stdout and "Invoke 2." in active.stdout
    assert bookworm.run("test -x .venv/bin/fab").returncode == 1
    check_second_run(bookworm, "root")


HOSTILE = {
    "PIP_TARGET": "/tmp/elsewhere",
    "PIP_PREFIX": "/tmp/elsewhere",
    "PIP_ROOT": "/tmp/elsewhere",
    "PIP_DRY_RUN": "1",
    "PYTHONPATH": "/tmp/strangers",
}
STRANGER = "mkdir -p /tmp/strangers; echo 'raise SystemExit(\"a module of a stranger\")' >/tmp/strangers/invoke.py"


def test_the_users_own_settings_of_pip_and_python_change_nothing(bookworm: fresh.Machine) -> None:
    conf = "mkdir -p ~/.config/pip; printf '[install]\\ntarget = /tmp/elsewhere\\n' >~/.config/pip/pip.conf"
    assert bookworm.run(f"{STRANGER}; {conf}; rm -rf .venv .venvs").returncode == 0
    done = bookworm.run("umask 000; ./bootstrap inv --version", **HOSTILE)
    assert done.returncode == 0 and "Invoke 2." in done.stdout, done.stdout
    assert re.search(r"^bootstrap: package 1 of \d+: \S+, \d+ s$", done.stdout, re.MULTILINE), done.stdout
    left = bookworm.run("ls -d /tmp/elsewhere; find . -perm -o=w ! -type l; rm ~/.config/pip/pip.conf")
    assert left.stdout.splitlines() == ["ls: cannot access '/tmp/elsewhere': No such file or directory"]


def test_a_clone_has_one_environment_whatever_it_is_called(bookworm: fresh.Machine) -> None:
    ways = ("ln -sfn checkout ../again; cd ../again", "ln -sf checkout/bootstrap ../boot; cd ..")
    for way, command in zip(ways, ("./bootstrap", "./boot"), strict=True):
        done = bookworm.run(f"{way}; {command} inv --version")
        assert done.returncode == 0 and "bootstrap:" not in done.stdout, done.stdout


def test_what_runs_keeps_its_environment(bookworm: fresh.Machine) -> None:
    """The lock file changes while a task runs."""
    waits = ".venv/bin/python -c 'import time; time.sleep(8); import json, invoke; print(invoke.__version__)' & "
    other = "cp requirements.lock lock; sed -i 's/^# .*//' requirements.lock; echo '# another' >>requirements.lock; "
    done = bookworm.run(
        f"./bootstrap true; {waits}{other}./bootstrap inv --version; wait $!; mv lock requirements.lock"
    )
    assert done.returncode == 0, done.stdout
    assert MAKES in done.stdout and re.search(r"^2\.\d+\.\d+$", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["--help"], 0, "usage: ./bootstrap COMMAND"),
        (["--hepl"], 1, "unknown option --hepl"),
        (["imv", "--list"], 1, "no command imv"),
    ],
)
def test_a_typing_error_is_noticed_at_once(words: list[str], code: int, what: str) -> None:
    done = subprocess.run(["sh", "bootstrap", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert what in done.stdout + done.stderr and "bootstrap:" not in done.stderr


def test_usage_without_a_command() -> None:
    shell = shutil.which("sh") or "/bin/sh"
    done = subprocess.run([shell, "bootstrap"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.startswith("usage: ./bootstrap COMMAND")
