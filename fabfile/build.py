"""containerd built once on this controller for a (source, tags, Go, architecture) key, whatever the number of hosts."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from time import monotonic

import msgspec

from fabfile import paths
from fabfile.console import say
from fabfile.errors import Failed, Refused
from fabfile.releases import Release, locked
from fabfile.render import render

TAGS = "no_btrfs"

TOOLS = {
    "make": "make",
    "gcc": "gcc",
    "pkg-config": "pkg-config",
    "/usr/include/stdlib.h": "libc6-dev",
    "/usr/include/seccomp.h": "libseccomp-dev",
}
"""What a build needs here → its Debian package."""


class Build(msgspec.Struct, frozen=True):
    """A build of containerd. It is a `plan.Source`: a tar archive of bin/."""

    release: Release

    @property
    def script(self) -> str:
        """The shell script that builds it."""
        source = self.release.containerd
        old = source.mode == "gopath"  # the shims of version 1 went with GOPATH
        return render(
            "containerd/build.sh.j2",
            mode=source.mode,
            tags=TAGS,
            version=f"v{source.version}",
            commit=source.commit,
            shims=old,
        )

    @property
    def key(self) -> str:
        """Version, and the digest of all that the build depends on."""
        parts = (self.release.containerd.commit, self.release.go.sha256, self.release.arch, self.script)
        return f"{self.release.containerd.version}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"

    @property
    def label(self) -> str:
        """Name and key."""
        return f"containerd-{self.key}"

    def path(self) -> Path:
        """Build it, or find it in the cache.

        Raises:
            Refused: this controller lacks what a build needs.
            Failed: the source or toolchain could not be fetched; the build failed.
        """
        wanted = paths.cache() / "builds" / self.key / "containerd.tar.gz"
        with locked(wanted):
            if not wanted.exists():
                _check_tools(self.release)
                _build(self, wanted.parent)
        return wanted


def _check_tools(release: Release) -> None:
    lacking = [
        package
        for tool, package in TOOLS.items()
        if not (Path(tool).exists() if tool.startswith("/") else shutil.which(tool))
    ]
    if lacking:
        raise Refused(
            "this controller cannot build containerd",
            f"missing: {', '.join(lacking)}",
            hint=f'apt-get install {" ".join(lacking)}, or build on the host: build = "host" in hosts.toml',
        )
    here = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    if here != release.arch:
        raise Refused(
            f"this controller is {here}, the host {release.arch}", hint='set build = "host" for it in hosts.toml'
        )


def goroot(release: Release) -> Path:
    """The Go toolchain of a release, unpacked once in the cache; never in this controller's /usr/local."""
    archive = release.go.path()
    wanted = archive.parent / "go"
    with locked(wanted):
        if not wanted.exists():
            part = wanted.with_name(".go.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            subprocess.run(["tar", "-xzf", archive, "-C", part, "--strip-components=1"], check=True)
            part.rename(wanted)
    return wanted


def _build(build: Build, directory: Path) -> None:
    source, go = build.release.containerd.path(), goroot(build.release)
    script, log = directory / "build.sh", directory / "build.log"
    script.write_text(build.script)
    start = monotonic()
    say(f"building {build.label} with go {build.release.go.version}, tags {TAGS} (log: {log})")
    with log.open("wb") as out:
        environment = {"GOCACHE": str(paths.cache() / "gocache"), "PATH": os.environ["PATH"], "LC_ALL": "C"}
        done = subprocess.run(
            ["sh", script, source, go, directory], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise Failed(f"building {build.label} failed", f"exit code {done.returncode}\n{tail}", hint=f"all of it: {log}")
    say(f"built {build.label}  {monotonic() - start:.1f} s")
