"""A release that exists without a network, and the facts of an empty machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import toml

from fabfile.artefacts import releases
from fabfile.facts import Facts
from fabfile.facts.containerd import Containerd
from fabfile.facts.instances import Instances
from fabfile.facts.needs import PROBES
from fabfile.facts.pool import Pool
from fabfile.facts.system import System
from fabfile.facts.userland import Userland
from fabfile.facts.versions import NAMES, Versions

FRESH = Facts(
    system=System(
        distribution="debian", version="12", family="debian", kernel="6.1", arch="amd64", systemd=True, thin_pool=True,
        generation="0",
    ),
    userland=Userland(libc="glibc 2.36"),
    needs=frozenset(PROBES),
    versions={name: Versions() for name in NAMES},
    files={},
    containerd=Containerd(),
    pool=Pool(),
    instances=Instances(),
    smoke=None,
)  # fmt: skip


def having(**changes: Any) -> Facts:
    """The facts of an empty machine with all packages, except for the given ones."""
    return msgspec.structs.replace(FRESH, **changes)


def with_system(**changes: Any) -> Facts:
    """The same facts with another system."""
    return having(system=msgspec.structs.replace(FRESH.system, **changes))


def with_versions(name: str, **changes: Any) -> Facts:
    """The same facts with something installed."""
    return having(versions=FRESH.versions | {name: Versions(**changes)})


def make_mirror(directory: Path) -> str:
    """Make `directory` a mirror that defines a release `lab`."""
    releases.load.cache_clear()
    digest = {"amd64": hashlib.sha256(b"content").hexdigest()}
    document = {
        "set": {"lab": {"go": "1.19.8", "protoc": "3.21.12", "runc": "1.1.5", "containerd": "1.6.20"}},
        "go": {"1.19.8": digest},
        "protoc": {"3.21.12": digest},
        "runc": {"1.1.5": digest},
        "containerd": {"1.6.20": {"ref": "refs/tags/v1.6.20", "commit": "a" * 40, "mode": "gopath"}},
    }
    (directory / "releases.toml").write_text(toml.dumps(document))
    return str(directory)


@pytest.fixture
def mirror(tmp_path: Path) -> str:
    """A mirror that defines a release `lab`."""
    return make_mirror(tmp_path)
