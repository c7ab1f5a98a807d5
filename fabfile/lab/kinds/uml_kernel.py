"""The kernel of User-mode Linux, from Debian's packages, with the C library that it was linked to.

The newest version uses seccomp instead of ptrace and is twice as fast, but needs a newer C library than released
Debians have, so it comes with its own. The path of its loader is relative: it starts in the machine's directory, which
has a copy, so the machine needs access to no other directory.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from fabfile import paths
from fabfile.errors import Failed
from fabfile.lab import files, store, suites, tools

NEWEST = "forky"
"""The suite whose kernel is tried first, whatever the machine's own suite is."""

PACKAGES = ("user-mode-linux", "libc6", "libgcc-s1")
LIBRARIES = ("libc.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2")
KERNEL = "kernel"
"""Directory of the kernel in an image, so that the image does not depend on the cached kernel."""

PROGRAM = "linux"
LIBRARY_DIR = "lib"

FILES = (PROGRAM, *(f"{LIBRARY_DIR}/{name}" for name in LIBRARIES))
"""The files of a kernel that a machine's directory gets."""

UNUSED = (
    "drivers/net drivers/media sound net/batman-adv net/openvswitch net/tipc net/sctp net/rxrpc net/ceph fs/afs fs/ceph"
)
"""Modules that no lab machine loads; they are half of all."""

SETTINGS = {
    "APT::Default-Release": "",
    "APT::Get::AllowUnauthenticated": "false",
    "Acquire::AllowInsecureRepositories": "false",
    "Acquire::AllowWeakRepositories": "false",
    "Acquire::AllowDowngradeToInsecureRepositories": "false",
}
"""Instead of settings in the controller's apt.conf that would select another suite, or weaken the verification."""


class UmlKernel(msgspec.Struct, frozen=True):
    """A kernel in the cache: a directory with `linux`, `lib/` and `modules/`."""

    directory: Path
    version: str
    name: str = "uml"
    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its version, as its modules are in the image."""
        return self.version

    def finish(self, tree: Path, part: Path, log: Path) -> str:
        """Add its modules to the finished tree, and return its version."""
        shutil.copytree(self.directory / "modules", tree / "usr/lib/modules" / self.version)
        tools.run("chroot", tree, "depmod", self.version, log=log, before=tools.as_root())
        for name in FILES:
            (part / KERNEL / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.directory / name, part / KERNEL / name)
        return self.version


def find(suite: str) -> UmlKernel:
    """Find the kernel of a suite in the cache, or download it from Debian.

    Raises:
        Failed: it could not be downloaded.
    """
    directory = paths.cache() / "kernels" / suite

    def make(part: Path, log: Path) -> None:
        _fetch(part, log, suite)

    store.find(directory, make, f"User-mode Linux of Debian {suite}: fetching", ("version", *FILES))
    return UmlKernel(directory, (directory / "version").read_text())


def _fetch(part: Path, log: Path, suite: str) -> None:
    download = part / "download"
    for again in (True, False):
        files.fresh(download)  # an outdated package must not be unpacked together with the others
        try:
            _download(download, suite, log)
            break
        except Failed:
            # A suite in development may have changed between the download of its package list and that of the package.
            if not again:
                raise
    try:
        version = _arrange(download / "tree", part, log)
    except (FileNotFoundError, ValueError) as error:
        what = f"the packages {', '.join(PACKAGES)} of Debian {suite} are not laid out as expected"
        raise Failed(what, str(error), hint=f"log: {log}") from error
    (part / "version").write_text(version)
    files.remove(download)


def _download(directory: Path, suite: str, log: Path) -> None:
    """Download and unpack the packages, whose signatures apt checks; the controller's own apt state is left alone."""
    (directory / "lists").mkdir()
    (directory / "sources.list").write_text(f"deb [signed-by={suites.KEYRING}] {suites.mirror()} {suite} main\n")
    options = {
        "Dir::Etc::sourcelist": tools.ASIDE / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State::lists": tools.ASIDE / "lists",
        "Dir::Cache": tools.ASIDE / "apt",
        "APT::Sandbox::User": "root",
        "APT::Architecture": "amd64",
        **SETTINGS,
        "Acquire::Languages": "none",
        **({"Acquire::Check-Valid-Until": "false"} if suites.SUITES[suite] else {}),
    }
    apt = ["apt-get", "-q", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    tools.aside(directory, *apt, "update", log=log)
    tools.aside(directory, *apt, "download", *PACKAGES, log=log)
    for package in directory.glob("*.deb"):
        tools.run("dpkg-deb", "-x", package, directory / "tree", log=log)


def _arrange(tree: Path, new: Path, log: Path) -> str:
    """Move kernel, libraries and modules to their places, and return the kernel's version."""
    (modules,) = (tree / "usr/lib/uml/modules").iterdir()
    for name in UNUSED.split():
        shutil.rmtree(modules / "kernel" / name, ignore_errors=True)
    modules.rename(new / "modules")
    shutil.copy(tree / "usr/bin/linux.uml", new / PROGRAM)
    libraries = new / LIBRARY_DIR
    libraries.mkdir()
    for name in LIBRARIES:
        (found, *_) = [*tree.glob(f"usr/lib/x86_64-linux-gnu/{name}"), *tree.glob(f"lib/x86_64-linux-gnu/{name}")]
        shutil.copy(found, libraries)
    loader = f"{LIBRARY_DIR}/{LIBRARIES[-1]}"
    tools.run("patchelf", "--set-interpreter", loader, "--set-rpath", LIBRARY_DIR, new / PROGRAM, log=log)
    return modules.name
