"""The tools to be compared, each with its best settings, and the commands that run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from bench.fleet import installed
from bench.fleet.clock import Cost, measure
from bench.fleet.targets import Fleet
from fabfile.distributions import PROGRAMS
from fabfile.paths import REPOSITORY
from fabfile.remote.target import PROLOGUE

HERE = Path(__file__).parent

LACKING = f"{PROLOGUE}for program in {' '.join(PROGRAMS)}; do command -v $program >/dev/null || echo $program; done"
"""A command that prints the programs that a host lacks."""

COMMAND, CHECKS, DEPLOY = "command", "checks", "deploy"
"""Jobs: run `true`; determine the distribution and missing programs, and find that nothing is to be done; and the same
for all steps of a deploy that need no device mapper."""

OURS, OPENSSH, PARALLEL_SSH, PYINFRA, ANSIBLE = "fab", "OpenSSH", "parallel-ssh", "pyinfra", "Ansible"
PARAMIKO, ASYNCSSH = "Paramiko", "asyncssh"
"""Libraries alone; parallel-ssh is a third, libssh2 under gevent."""


class Setting(NamedTuple):
    """What the tools are given."""

    fleet: Fleet
    peers: Path
    """Directory for PYTHONPATH."""
    size: int
    """Number of hosts."""
    at_once: int
    """Number of hosts at a time."""


class Way(NamedTuple):
    """A job done by a tool."""

    job: str
    tool: str
    command: Callable[[Setting], list[str]]
    most: int = 10**6
    """Number of hosts up to which it ends within bearable time."""


def fab(*words: str, hosts: str = "hosts") -> Callable[[Setting], list[str]]:
    """Make fab's command, for all hosts of the inventory or those that are named."""
    return lambda of: [sys.executable, str(Path(sys.executable).with_name("fab")), "-H", hosts, *words]


def _openssh(of: Setting) -> list[str]:
    ssh = f"ssh -F {of.fleet.ssh_config()} -o ControlMaster=no"
    return ["xargs", "-a", str(of.fleet.names(of.size)), "-P", str(of.at_once), "-I", "{}", *ssh.split(), "{}", "true"]


def _parallel_ssh(of: Setting) -> list[str]:
    ports = ",".join(str(port) for _, port in of.fleet.hosts(of.size))
    key = str(of.fleet.directory / "id")
    return [sys.executable, str(HERE / "with_parallel_ssh.py"), key, str(of.at_once), ports]


def _library(script: str) -> Callable[[Setting], list[str]]:
    def command(of: Setting) -> list[str]:
        ports = ",".join(str(port) for _, port in of.fleet.hosts(of.size))
        home = of.fleet.directory
        return [sys.executable, str(HERE / script), str(home / "id"), str(home / "known"), str(of.at_once), ports]

    return command


def _pyinfra(*words: str) -> Callable[[Setting], list[str]]:
    def command(of: Setting) -> list[str]:
        options = ["--yes", "--parallel", str(of.at_once)]
        return [sys.executable, "-m", "pyinfra", *options, str(of.fleet.pyinfra(of.size)), *words]

    return command


def _ansible(program: str, *words: str) -> Callable[[Setting], list[str]]:
    def command(of: Setting) -> list[str]:
        options = ["-i", str(of.fleet.ansible(of.size)), "--forks", str(of.at_once)]
        return [sys.executable, "-m", f"ansible.cli.{program}", *options, *words]

    return command


WAYS = (
    Way(COMMAND, OURS, fab("run", "--command", "true")),
    Way(COMMAND, OPENSSH, _openssh, most=128),
    Way(COMMAND, PARALLEL_SSH, _parallel_ssh, most=128),
    Way(COMMAND, PARAMIKO, _library("with_paramiko.py"), most=128),
    Way(COMMAND, ASYNCSSH, _library("with_asyncssh.py"), most=128),
    Way(COMMAND, PYINFRA, _pyinfra("exec", "--", "true"), most=128),
    Way(COMMAND, ANSIBLE, _ansible("adhoc", "all", "-m", "raw", "-a", "true"), most=32),
    Way(CHECKS, OURS, fab("packages")),
    Way(CHECKS, PYINFRA, _pyinfra(str(HERE / "with_pyinfra.py")), most=128),
    Way(CHECKS, ANSIBLE, _ansible("playbook", str(HERE / "with_ansible.yml")), most=32),
    Way(DEPLOY, OURS, fab("deploy", "--until", "runc.install")),
    Way(DEPLOY, PYINFRA, _pyinfra(str(HERE / "with_pyinfra_deploy.py")), most=128),
    Way(DEPLOY, ANSIBLE, _ansible("playbook", str(HERE / "with_ansible_deploy.yml")), most=8),
)


def environment(of: Setting, known: str = "known") -> dict[str, str]:
    """What all tools find in their environment: nothing of the user's SSH or Ansible, and nothing that is kept.

    Args:
        of: what they are given.
        known: the name of the file of host keys, for ours.
    """
    home = str(of.fleet.directory)
    ansible = {
        "CONFIG": str(of.fleet.file("ansible.cfg", "[defaults]\n")), "HOME": f"{home}/a",
        "SSH_CONTROL_PATH_DIR": f"{home}/m", "SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s",
        "PIPELINING": "1", "STRATEGY": "free", "HOST_KEY_CHECKING": "1",
    }  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "SSH_", "PYTHON"))}
    return {
        **kept,
        **{f"ANSIBLE_{name}": value for name, value in ansible.items()},
        "HOME": home,
        "HOSTS_FILE": str(of.fleet.toml(of.size, of.at_once, known)),
        "LACKING": LACKING,
        "INSTALLED": json.dumps(installed.wanted()._asdict()),
    }


def run(way: Way, of: Setting, known: str = "known") -> Cost:
    """Do a job once, from nothing: no connection of an earlier run is there.

    Args:
        way: what to do, and by which tool.
        of: what it is given.
        known: see `environment`.
    """
    command, given, before = way.command(of), environment(of, known), of.fleet.cpu()
    if way.tool in (PARALLEL_SSH, ASYNCSSH, PYINFRA, ANSIBLE):
        given["PYTHONPATH"] = str(of.peers)
    try:
        cost = measure(command, given, REPOSITORY if way.tool == OURS else of.fleet.directory)
    finally:
        _end_masters(of.fleet.directory / "m", given)
    return cost._replace(hosts=of.fleet.cpu() - before)


def _end_masters(sockets: Path, given: Mapping[str, str]) -> None:
    """Stop the OpenSSH masters that Ansible leaves for its next run; any others end after a minute."""
    for socket in sockets.glob("*"):
        subprocess.run(
            ["ssh", "-F", "/dev/null", "-o", f"ControlPath={socket}", "-O", "exit", "any"],
            env=given, stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        socket.unlink(missing_ok=True)
