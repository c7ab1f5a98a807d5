"""The lab's disk image: a minimal Debian made from packages, cached by digest of what goes in."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from time import monotonic

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
    "initramfs-tools",
    "iproute2",
    "kmod",
    # What the step `packages` would install: under emulation that takes minutes (its test is in a container).
    "lvm2",
    "linux-image-cloud-amd64",
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


class Image(msgspec.Struct, frozen=True):
    """A built image: files in a directory of the cache."""

    suite: str
    directory: Path
    overlay: Path | None = None
    """The disk of a machine that was shut down, to start others from what was done on it."""

    @property
    def disk(self) -> Path:
        """The root file system; machines write to an overlay of it."""
        return self.overlay or self.directory / "root.img"

    @property
    def format(self) -> str:
        """The disk's format, as qemu calls it."""
        return "qcow2" if self.overlay else "raw"

    @property
    def kernel(self) -> Path:
        """Debian's kernel."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Its initial RAM disk."""
        return self.directory / "initrd"


def build(suite: str) -> Image:
    """Build the image of a suite, or find it in the cache.

    Raises:
        Refused: an unknown suite, or no Debian mirror.
        Failed: a package could not be had; the log's place is in the hint.
    """
    suites.check(suite)
    setup = render("lab/setup.sh.j2")
    command = ["mmdebstrap", *OPTIONS, *suites.SUITES[suite], f"--include={','.join(PACKAGES)}", suite]
    digest = hashlib.sha256("\0".join([*command, SIZE, setup]).encode()).hexdigest()[:16]
    image = Image(suite, paths.cache() / "images" / f"{suite}-{digest}")
    with locked(image.directory):
        if image.directory.exists():
            say(f"image {suite}: cached")
        else:
            start = monotonic()
            with progress(f"image {suite}: building, about a minute"):
                _build(image, command, setup)
            say(f"image {suite}: built  {monotonic() - start:.1f} s")
    return image


def _build(image: Image, command: list[str], setup: str) -> None:
    part = image.directory.with_name(f".{image.directory.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    log, tree, script = part.with_suffix(".log"), part / "tree", part / "setup.sh"
    log.unlink(missing_ok=True)
    script.write_text(setup)
    script.chmod(0o755)
    tools.run(
        *tools.PRIVATE_MOUNTS, *command[:-1], f"--customize-hook={script}", image.suite, tree, suites.mirror(), log=log
    )
    for pattern, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd")):
        shutil.copyfile(max((tree / "boot").glob(pattern)), part / name)
    lazy = "lazy_itable_init=1,lazy_journal_init=1"
    tools.run("mke2fs", "-q", "-t", "ext4", "-E", lazy, "-d", tree, part / "root.img", SIZE, log=log)
    shutil.rmtree(tree)
    part.rename(image.directory)
