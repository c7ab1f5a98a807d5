"""The lab's disk image: a minimal Debian made from packages, cached by digest of what goes in."""

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

KERNELS = ("vmlinuz", "initrd", "kernel/*")
"""Files of an image whose content is compared at each use."""

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
    def id(self) -> str:
        """Which making of the image this is, as an overlay belongs to one very file; nothing where it is gone."""
        return store.identity(self.directory)

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
    tools.aside(part, *options, command[-1], tools.ASIDE / tree.name, suites.mirror(), log=log)
    (part / "version").write_text(kernel.finish(tree, part, log))
    lazy = "lazy_itable_init=1,lazy_journal_init=1"
    # Names, not paths: it runs where they are, so it does not matter what their directory is called.
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
