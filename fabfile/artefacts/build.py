"""Builds of containerd on this controller: one for each source, Go and architecture, for any number of hosts."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
from pathlib import Path
from time import monotonic

import msgspec

from fabfile import activity, interruption, paths
from fabfile.artefacts import cache_files
from fabfile.artefacts.download import locked
from fabfile.artefacts.releases import Release
from fabfile.artefacts.source import Git
from fabfile.console import say
from fabfile.errors import Failed, Refused
from fabfile.facts.system import ARCHITECTURES
from fabfile.once import once
from fabfile.render import render

TAGS = "no_btrfs"

TOOLS = {"git": "git", "make": "make", "tar": "tar"}
CGO_TOOLS = {
    "gcc": "gcc",
    "pkg-config": "pkg-config",
    "/usr/include/stdlib.h": "libc6-dev",
    "/usr/include/seccomp.h": "libseccomp-dev",
}
"""What every build needs here, and what one with cgo needs in addition → Debian package."""

LOG_LINES = 20
"""Number of lines of a failed build's log that are shown."""


PACKAGE = re.compile(rb"[a-z0-9][A-Za-z0-9._~+-]*(/[A-Za-z0-9._~+-]+)*")
"""A line with the name of a package, which Go prints when it begins to compile it."""

MOST_READ = 1 << 20
"""Bytes of a log that are read at once."""


class Build(msgspec.Struct, frozen=True):
    """A build of containerd. It is a `plan.UploadSource`: a tar archive of bin/."""

    release: Release

    @property
    def programs(self) -> tuple[str, ...]:
        """Names of the programs; the shims of version 1 disappeared together with GOPATH."""
        old = ("containerd-shim", "containerd-shim-runc-v1") if self.release.containerd.mode == "gopath" else ()
        return ("containerd", "ctr", "containerd-shim-runc-v2", *old)

    @property
    def script(self) -> str:
        """The shell script that builds it. Arguments: source archive, Go toolchain, directory for the result."""
        return _script(self.release.containerd, self.programs)

    @property
    def key(self) -> str:
        """Version, and a digest of everything that the build depends on."""
        parts = (self.release.containerd.commit, self.release.go.sha256, self.release.arch, self.script)
        return f"{self.release.containerd.version}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"

    @property
    def label(self) -> str:
        """Name and key."""
        return f"containerd-{self.key}"

    @property
    def archive(self) -> Path:
        """Path of the finished build in the cache."""
        return cache_files.inside(paths.cache() / "builds", self.key) / "containerd.tar.gz"

    @property
    def is_cached(self) -> bool:
        """Whether the cache has it, undamaged."""
        return cache_files.intact(self.archive)

    def check(self, libc: str = "") -> None:
        """Refuse at once what could not be built, or would not run on the host.

        Args:
            libc: the host's C library as `getconf GNU_LIBC_VERSION` prints it; only builds with cgo depend on it.

        Raises:
            Refused: the controller has another architecture, lacks a tool, or has a newer C library than the host.
        """
        here = libc_version(" ".join(platform.libc_ver()))
        if self.release.containerd.cgo and libc and here > libc_version(libc):
            raise Refused(
                f"a build of containerd {self.release.containerd.version} by this controller would not run on the host",
                f"C library: {'.'.join(map(str, here))} on this controller, {libc} on the host",
                hint='set build = "host" for it in hosts.toml',
            )
        if not self.is_cached:
            _check_tools(self.release)

    def path(self) -> Path:
        """Build it, or find it in the cache, and return the path of the archive.

        Raises:
            Refused: this controller lacks what a build needs.
            Failed: source or toolchain could not be downloaded, or the build failed.
        """
        with locked(self.archive):
            if not self.is_cached:
                _check_tools(self.release)
                _build(self)
                cache_files.record(self.archive)
        return self.archive


@once  # each host asks for it several times
def _script(source: Git, programs: tuple[str, ...]) -> str:
    return render(
        "containerd/build.sh.j2",
        mode=source.mode,
        static=not source.cgo,
        tags=TAGS,
        version=f"v{source.version}",
        commit=source.commit,
        programs=[f"bin/{name}" for name in programs],
    )


def libc_version(text: str) -> tuple[int, ...]:
    """Parse `glibc 2.36` into (2, 36), which can be compared; empty if it is not glibc."""
    name, _, version = text.partition(" ")
    return tuple(int(part) for part in version.split(".") if part.isdigit()) if name == "glibc" else ()


def _check_tools(release: Release) -> None:
    here = ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    if here != release.arch:
        raise Refused(
            f"this controller is {here}, the host {release.arch}", hint='set build = "host" for it in hosts.toml'
        )
    tools = TOOLS | CGO_TOOLS if release.containerd.cgo else TOOLS
    lacking = [package for tool, package in tools.items() if not _is_there(tool)]
    if lacking:
        raise Refused(
            "this controller cannot build containerd",
            f"missing: {', '.join(lacking)}",
            hint=f'apt-get install {" ".join(lacking)}, or build on the host: build = "host" in hosts.toml',
        )


def _is_there(tool: str) -> bool:
    return Path(tool).exists() if tool.startswith("/") else shutil.which(tool) is not None


def _build(build: Build) -> None:
    source, directory = build.release.containerd.path(), build.archive.parent
    script, log, goroot = directory / "build.sh", directory / "build.log", directory / "go"
    # Go's own settings come from this file where the script, by which a build is known, leaves them empty.
    verbose = directory / "go.env"
    script.write_text(build.script)
    start = monotonic()
    try:
        with cache_files.room(directory):  # the toolchain is removed before the full disk is examined
            _unpack(build.release.go.path(), goroot)
            say(f"building {build.label} with go {build.release.go.version}, tags {TAGS} (log: {log})")
            command = ("sh", script, source, goroot, directory)
            verbose.write_text("GOFLAGS=-v\n")
            log.unlink(missing_ok=True)  # of a build that failed: its packages are not this one's
            with activity.doing(Compiled(build.label, log).__str__):
                environment = {"GOCACHE": str(paths.cache() / "gocache"), "GOENV": str(verbose)}
                _run(f"building {build.label}", log, command, **environment)
    finally:
        verbose.unlink(missing_ok=True)
        shutil.rmtree(goroot, ignore_errors=True)
    say(f"built {build.label}  {monotonic() - start:.1f} s")


class Compiled:
    """How many packages a build has compiled, counted in its log."""

    def __init__(self, label: str, log: Path) -> None:
        self._label, self._log = label, log
        self._count, self._read = 0, 0

    def __str__(self) -> str:
        """The count by now."""
        if self._log.exists():
            with self._log.open("rb") as stream:
                stream.seek(self._read)
                *lines, rest = stream.read(MOST_READ).split(b"\n")
                self._read = stream.tell() - len(rest)
            self._count += sum(bool(PACKAGE.fullmatch(line)) for line in lines)
        return f"building {self._label}: {self._count} packages compiled"


def _unpack(archive: Path, wanted: Path) -> None:
    """Unpack a Go toolchain, whose digest was verified, for one build; never to /usr/local."""
    if wanted.exists():  # left behind by a build that was killed
        shutil.rmtree(wanted)
    wanted.mkdir()
    command = ("tar", "-xzf", archive, "-C", wanted, "--strip-components=1", "--no-same-owner")
    _run(f"unpacking {archive.name}", wanted.with_name("unpack.log"), command)


def _run(doing: str, log: Path, command: tuple[str | Path, ...], **environment: str) -> None:
    """Run a command in an environment with PATH alone; its output goes to `log`."""
    import subprocess

    with log.open("wb") as out:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", **environment}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip
        with interruption.ended_with(process):
            process.wait()
    if process.returncode:
        # Go goes on with other packages, and their names would hide what is wrong with one.
        lines = [line for line in log.read_bytes().splitlines() if b"/" not in line or not PACKAGE.fullmatch(line)]
        tail = b"\n".join(lines[-LOG_LINES:]).decode(errors="replace")
        raise Failed(f"{doing} failed", f"exit code {process.returncode}\n{tail}", hint=f"full log: {log}")
