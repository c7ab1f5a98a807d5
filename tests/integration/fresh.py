"""A fresh Debian with only git, python3 and sudo, in a throwaway privileged container on this machine's network."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fabfile import paths
from fabfile.lab import store, suites, tools
from tests import container

PACKAGES = "git,python3,sudo"
USER = "builder"
NETWORK = ("_proxy", "ca_bundle", "cert_file")


@dataclass(frozen=True)
class Machine:
    """A running container.

    Attributes:
        name: podman's name of it.
        checkout: a copy of this repository's files; in the container at /home/builder/checkout.
    """

    name: str
    checkout: Path

    def run(self, script: str, user: str = "root", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the checkout; standard output and error are combined."""
        home = "/root" if user == "root" else f"/home/{USER}"
        flags = [f"--env={name}={value}" for name, value in {"HOME": home, **env}.items()]
        place = [f"--user={user}", f"--workdir=/home/{USER}/checkout"]
        command = ["podman", "exec", *flags, *place, self.name, "sh", "-c", script]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def root(suite: str) -> Path:
    """The root directory of the suite, built once; containers write to an overlay."""
    setup = (
        f'useradd --root "$1" --create-home --shell /bin/sh {USER}',
        f'echo "{USER} ALL=(ALL) NOPASSWD: ALL" >"$1/etc/sudoers.d/{USER}"',
    )
    hooks = [f"--customize-hook={line}" for line in setup]
    command = ["mmdebstrap", "--variant=apt", *suites.SUITES[suite], f"--include={PACKAGES}", *hooks, suite]
    digest = hashlib.sha256(repr([command, store.FORMAT]).encode()).hexdigest()[:16]
    wanted = paths.cache() / "roots" / f"{suite}-{digest}"

    def make(part: Path, log: Path) -> None:
        suites.make(part, *command, tree=part / "tree", log=log)

    store.find(wanted, make)
    return wanted / "tree"


def network() -> tuple[dict[str, str], set[str]]:
    """Return how this machine reaches a Python package index: environment variables, and the paths in them.

    In the container each path is below /host, as in its own place it could be in the way of a package.
    """
    settings = {name: value for name, value in os.environ.items() if name.lower().endswith(NETWORK)}
    for line in tools.run(sys.executable, "-m", "pip", "config", "list").splitlines():
        key, _, value = line.partition("=")
        settings["PIP_" + key.rpartition(".")[2].upper().replace("-", "_")] = value.strip("'\"")
    found: set[str] = set()

    def moved(word: str) -> str:
        path = word.removeprefix("file://")
        if not path.startswith("/") or not Path(path).exists():
            return word
        found.add(path if path == word else str(Path(path).parent))  # an index refers to files beside it
        return word.replace(path, f"/host{path}")

    return {name: " ".join(map(moved, value.split())) for name, value in settings.items()}, found


def copy_checkout(directory: Path) -> Path:
    """Copy this repository as a clone of its present files would be: no .venv, no caches."""
    names = tools.run("git", "-C", paths.REPOSITORY, "ls-files", "-co", "--exclude-standard").splitlines()
    for name in names:
        source, goal = paths.REPOSITORY / name, directory / name
        if source.is_file():
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, goal)
    directory.chmod(0o755)
    return directory


@contextmanager
def machine(suite: str, directory: Path) -> Iterator[Machine]:
    """Start a fresh machine with a checkout; nothing of it is left afterwards.

    Args:
        suite: name of the Debian generation.
        directory: an empty directory for the checkout.
    """
    here = Machine(f"fresh-{suite}-{uuid.uuid4().hex[:8]}", copy_checkout(directory))
    env, files = network()
    options = [
        "--privileged",
        "--network=host",
        "--pids-limit=0",
        *container.flags(),
        f"--name={here.name}",
        "--detach",
    ]
    options += [f"--env={name}={value}" for name, value in env.items()]
    options += [f"--volume={name}:/host{name}:ro" for name in files]
    options += [f"--volume={here.checkout}:/home/{USER}/checkout"]
    place = root(suite)
    try:
        identity = tools.run("podman", "run", *options, "--rootfs", f"{place}:O", "sleep", "infinity").strip()
        yield here
    finally:
        tools.run("podman", "rm", "--force", "--ignore", "--time=0", here.name)
        shutil.rmtree(directory)
    traces = tools.run("podman", "ps", "--all", "--quiet", "--no-trunc") + Path("/proc/mounts").read_text()
    assert identity not in traces, f"container {here.name} left something behind"
