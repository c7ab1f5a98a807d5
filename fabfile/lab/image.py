"""The lab's disk image: a minimal Debian made from packages, cached under a digest of its ingredients."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import msgspec

from fabfile import paths
from fabfile.console import say
from fabfile.lab import files, store, suites, tools
from fabfile.render import render

PACKAGES = (
    "ca-certificates",
    "crun",
    "dbus",
    "dmeventd",
    "e2fsprogs",
    "iproute2",
    "kmod",
    # What the step `packages` would install; that takes minutes under emulation, and is tested in a container instead.
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

KERNELS = ("vmlinuz", "initrd", "kernel/*")
"""Files of an image whose content is verified at each use."""

OPTIONS = (
    "--variant=minbase",
    "--skip=cleanup/apt/lists,cleanup/apt/cache",
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)


class Kernel(Protocol):
    """The kernel that boots an image."""

    @property
    def name(self) -> str:
        """Name of its family, for the image's directory."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages that the image needs for it."""

    @property
    def options(self) -> tuple[str, ...]:
        """Options of mmdebstrap for them."""

    @property
    def key(self) -> str:
        """What the image depends on apart from packages; it differs for each kernel."""

    def finish(self, tree: Path, part: Path, log: Path) -> str:
        """Finish the root directory `tree`, write files beside the image to `part`, and return the version."""


class Image(msgspec.Struct, frozen=True):
    """A complete image: files in a directory of the cache."""

    suite: str
    directory: Path
    overlay: Path | None = None
    """Written part of the root disk of a machine that was shut down, from which others start in its place."""

    @property
    def root(self) -> Path:
        """Path of the root file system, which is never written to."""
        return self.directory / "root.img"

    @property
    def disk(self) -> Path:
        """Path of what the root disk of a new machine is an overlay of."""
        return self.overlay or self.root

    @property
    def id(self) -> str:
        """Identity of this build of the image, as an overlay fits only that one file; empty if it is gone."""
        return store.identity(self.directory)

    @property
    def version(self) -> str:
        """Version of its kernel."""
        return (self.directory / "version").read_text()


def build(suite: str, kernel: Kernel) -> Image:
    """Find the image of a suite in the cache, or build it.

    Args:
        suite: name of the Debian generation.
        kernel: what boots the image.

    Raises:
        Refused: the suite is unknown, or there is no Debian mirror.
        Failed: a package could not be downloaded; the hint names the log.
    """
    suites.check(suite)
    setup = render("lab/setup.sh.j2")
    packages = sorted((*PACKAGES, *kernel.packages))
    command = ["mmdebstrap", *OPTIONS, *kernel.options, *suites.SUITES[suite], f"--include={','.join(packages)}", suite]
    parts = [*command, SIZE, setup, kernel.key, store.FORMAT]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    image = Image(suite, paths.cache() / "images" / f"{suite}-{kernel.name}-{digest}")

    def make(part: Path, log: Path) -> None:
        _make(part, log, command, setup, kernel)

    took = store.find(image.directory, make, f"image {suite}: building, about half a minute", ("version", *KERNELS))
    say(f"image {suite}: cached" if took is None else f"image {suite}: built  {took:.1f} s")
    return image


def _make(part: Path, log: Path, command: list[str], setup: str, kernel: Kernel) -> None:
    tree, script = part / "tree", part / "setup.sh"
    script.write_text(setup)
    script.chmod(0o755)
    options = (*command[:-1], f"--customize-hook={tools.ASIDE / script.name}")
    suites.make(part, *options, command[-1], tree=tree, log=log)
    (part / "version").write_text(kernel.finish(tree, part, log))
    lazy = "lazy_itable_init=1,lazy_journal_init=1"
    # Names instead of paths: it runs in that directory, so its name does not matter.
    tools.run(
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-E",
        lazy,
        "-d",
        tree.name,
        "root.img",
        SIZE,
        log=log,
        cwd=part,
        before=tools.as_root(),
    )
    files.remove(tree)
