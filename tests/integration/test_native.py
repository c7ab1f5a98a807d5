"""Everything that needs no pool, in a throwaway container with systemd and sshd on this machine's kernel.

A build takes a minute or two there, but fifteen under emulation. The tests build on each other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import toml

from fabfile import paths
from fabfile.artefacts import releases
from fabfile.artefacts.build import Build
from fabfile.facts.system import ARCHITECTURES
from fabfile.lab import kinds, mirror, tools
from fabfile.lab.vm import free_ports
from tests import container
from tests.container import Container, Site
from tests.integration.machine import run_fab

PROTO = """syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Pool { string name = 1; google.protobuf.Timestamp made = 2; }
"""


GOCACHE = "/var/cache/go"


@pytest.fixture(scope="module")
def native(lab: Path, suite: str, kind: str) -> Iterator[Container]:
    """A container here, and the inventory `native.toml` that has it.

    Its builds use what Go has cached for the controller's build of the same source.
    """
    tools.check()
    base, holds = kinds.choose(suite, kind)[1], mirror.build()
    key = lab / "native_key"
    tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "native", "-f", key)
    (port,) = free_ports(1)
    authorized = key.with_suffix(".pub").read_text().strip()
    (cache := paths.cache() / "gocache").mkdir(parents=True, exist_ok=True)
    with container.here(base, authorized) as site, _with(site, cache).container("native", port, port) as host:
        host.sh(f"echo GOCACHE={GOCACHE} >>/etc/environment")
        known = lab / "native_known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {host.host_key}\n")
        defaults = {"user": "root", "identity_file": str(key), "known_hosts": str(known)}
        defaults |= {"release": "lab", "mirror": str(holds)}
        hosts = {"native": {"address": "127.0.0.1", "port": port}}
        (lab / "native.toml").write_text(toml.dumps({"defaults": defaults, "hosts": hosts}))
        yield host
        host.sh("systemctl stop containerd || true")
    for file in lab.glob("native*"):
        file.unlink()


def _with(site: Site, cache: Path) -> Site:
    """Return the same place, with a directory of this machine mounted in its containers."""
    return dataclasses.replace(site, flags=f"{site.flags} --volume={cache}:{GOCACHE}")


@pytest.fixture
def inventory(native: Container, lab: Path) -> Path:
    """The inventory with the container."""
    return lab / "native.toml"


def fab(inventory: Path, *args: str, code: int = 0) -> str:
    """Run fab against the container."""
    return run_fab("-H", "native", *args, code=code, inventory=inventory)


def test_packages_for_a_build(native: Container, inventory: Path) -> None:
    assert native.sh("command -v gcc || true") == ""
    plan = fab(inventory, "--dry", "packages", "--build", code=3)
    assert re.search(r"packages .*\bgcc\b.*\blibseccomp-dev\b", plan)
    assert "changed 1" in fab(inventory, "packages", "--build")
    assert native.sh("command -v gcc make git") != ""
    assert "changed 0" in fab(inventory, "packages", "--build")


def test_go_is_in_the_path_of_a_login(native: Container, inventory: Path) -> None:
    assert "changed 1" in fab(inventory, "toolchain.go")
    assert re.match(r"go version go1\.\d+\.\d+ linux/", native.sh("sh -lc 'go version'"))
    assert native.sh("readlink /usr/local/go").strip() == "/opt/go/current"
    assert "changed 0" in fab(inventory, "toolchain.go")


def test_protoc_compiles(native: Container, inventory: Path) -> None:
    assert "changed 1" in fab(inventory, "toolchain.protoc")
    native.sh(f"cd /tmp && cat >pool.proto <<'E'\n{PROTO}\nE\nprotoc --cpp_out=. pool.proto && test -s pool.pb.cc")
    assert "changed 0" in fab(inventory, "toolchain.protoc")


def test_containerd_is_built_on_the_host_without_btrfs(native: Container, inventory: Path) -> None:
    output = fab(inventory, "containerd.install", "--on", "host")
    assert "changed 1" in output
    version = native.sh("containerd --version")
    assert re.match(r"containerd github\.com/containerd/containerd v1\.\d+\.\d+ [0-9a-f]{40}", version)
    packages = native.sh("grep -ao 'snapshots/[a-z]*' /usr/local/bin/containerd | sort -u").split()
    assert "snapshots/devmapper" in packages
    assert "snapshots/btrfs" not in packages
    assert "changed 0" in fab(inventory, "containerd.install", "--on", "host")


def test_the_host_built_the_same_bytes_as_the_controller(native: Container) -> None:
    build = Build(releases.load("lab", ARCHITECTURES[os.uname().machine], str(mirror.build())))
    with tarfile.open(build.path()) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        here = {name: hashlib.sha256(file.read()).hexdigest() for name, file in files.items() if file}
    there = native.sh("cd /opt/containerd/current && sha256sum bin/*")
    assert {name: digest for digest, name in map(str.split, there.splitlines())} == here


def test_runc(native: Container, inventory: Path) -> None:
    assert "changed 1" in fab(inventory, "runc.install")
    assert native.sh("runc --version").startswith("runc version")
    assert "changed 0" in fab(inventory, "runc.install")


def test_a_kernel_without_thin_pools_is_refused(native: Container, inventory: Path) -> None:
    if container.has_thin_pools():
        assert "activate the pool" in fab(inventory, "--dry", "pool.loop", "--dir", "/var/lib/containerd/p", code=3)
        return
    output = fab(inventory, "pool.loop", "--size", "1G", code=2)
    assert re.search(r"the kernel \S+ has no dm-thin-pool", output)
    assert "hint: boot a distribution's kernel" in output
    assert native.sh("find /etc -name 'devmapper-pool*'") == ""
    assert "dm-thin-pool" in fab(inventory, "doctor", code=1)


def test_a_containerd_from_a_package_is_refused(native: Container, inventory: Path) -> None:
    native.sh("touch /usr/bin/containerd")
    output = fab(inventory, "containerd.install", code=2)
    assert "the host has a containerd that this tool did not install" in output
    assert "/usr/bin/containerd, of no package" in output
    move = next(line for line in output.splitlines() if " mv /usr/bin/containerd " in line)
    native.sh(move.partition("on the host: ")[2])
