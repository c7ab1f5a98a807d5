"""The lab's disk image: a minimal Debian made from packages, cached by digest of what goes in."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from time import monotonic
from typing import Protocol

import msgspec

from fabfile import paths
from fabfile.console import say
from fabfile.lab import suites, tools
from fabfile.lab.progress import progress
from fabfile.releases import locked
from fabfile.render import render

PACKAGES = (
    "ca-certificates",
    "crun",
    "dbus",
    "dmeventd",
    "e2fsprogs",
    "iproute2",
    "kmod",
    # What the step `packages` would install: under emulation that takes minutes (its test is in a container).
    "lvm2",
    "netbase",
    "openssh-server",
    "podman",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
    "thin-provisioning-tools",
    "udev",
    "xfsprogs",
)
SIZE = "12G"

OPTIONS = (
    "--variant=minbase",
    "--skip=cleanup/apt/lists,cleanup/apt/cache",
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)


class Kernel(Protocol):
    """What boots an image."""

    @property
    def name(self) -> str:
        """Of its family, for the image's directory."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages that the image has for it."""

    @property
    def key(self) -> str:
        """What the image depends on besides the packages: another kernel, another key."""

    def finish(self, tree: Path, part: Path, log: Path) -> str:
        """Finish the root directory `tree`, put what lies beside the image into `part`, and return the version."""


class Image(msgspec.Struct, frozen=True):
    """A built image: files in a directory of the cache."""

    suite: str
    directory: Path
    overlay: Path | None = None
    """The written part of the root disk of a machine that was shut down, to start others from what was done on it."""

    @property
    def root(self) -> Path:
        """The root file system, which is never written to."""
        return self.directory / "root.img"

    @property
    def disk(self) -> Path:
        """What a new machine's root disk is an overlay of."""
        return self.overlay or self.root

    @property
    def version(self) -> str:
        """Its kernel's version."""
        return (self.directory / "version").read_text()


def build(suite: str, kernel: Kernel) -> Image:
    """Build the image of a suite, or find it in the cache.

    Raises:
        Refused: an unknown suite, or no Debian mirror.
        Failed: a package could not be had; the log's place is in the hint.
    """
    suites.check(suite)
    setup = render("lab/setup.sh.j2")
    packages = sorted((*PACKAGES, *kernel.packages))
    command = ["mmdebstrap", *OPTIONS, *suites.SUITES[suite], f"--include={','.join(packages)}", suite]
    digest = hashlib.sha256("\0".join([*command, SIZE, setup, kernel.key]).encode()).hexdigest()[:16]
    image = Image(suite, paths.cache() / "images" / f"{suite}-{kernel.name}-{digest}")
    with locked(image.directory):
        if image.directory.exists():
            say(f"image {suite}: cached")
        else:
            start = monotonic()
            with progress(f"image {suite}: building, about half a minute"):
                _build(image, command, setup, kernel)
            say(f"image {suite}: built  {monotonic() - start:.1f} s")
    return image


def _build(image: Image, command: list[str], setup: str, kernel: Kernel) -> None:
    part = image.directory.with_name(f".{image.directory.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    log, tree, script = part.with_suffix(".log"), part / "tree", part / "setup.sh"
    log.unlink(missing_ok=True)
    script.write_text(setup)
    script.chmod(0o755)
    hook = f"--customize-hook={script}"
    tools.run(*tools.PRIVATE_MOUNTS, *command[:-1], hook, image.suite, tree, suites.mirror(), log=log)
    (part / "version").write_text(kernel.finish(tree, part, log))
    lazy = "lazy_itable_init=1,lazy_journal_init=1"
    tools.run("mke2fs", "-q", "-t", "ext4", "-E", lazy, "-d", tree, part / "root.img", SIZE, log=log)
    shutil.rmtree(tree)
    part.rename(image.directory)
