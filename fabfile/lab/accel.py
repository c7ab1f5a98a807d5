"""KVM where it really boots a kernel, else TCG. /dev/kvm may be there and still hang a stock kernel early."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from fabfile import paths
from fabfile.apply import sha256
from fabfile.console import say
from fabfile.lab import tools
from fabfile.lab.image import Image
from fabfile.lab.progress import progress
from fabfile.releases import locked

LIMIT = 20
"""Seconds for the probe: a kernel under KVM is at its first process within two."""

TCG = ("-accel", "tcg,thread=multi")
KVM = ("-accel", "kvm")


def options(image: Image) -> tuple[str, ...]:
    """qemu's options: the answer of a real boot, remembered for this kernel, this qemu and the image's kernel."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    version = tools.run("qemu-system-x86_64", "--version").splitlines()[0]
    depends = "\0".join([os.uname().release, version, sha256(image.kernel)])
    answer = paths.cache() / "kvm" / hashlib.sha256(depends.encode()).hexdigest()[:16]
    with locked(answer):
        if not answer.exists():
            with progress("/dev/kvm: does it boot a kernel?"):
                boots = _boots(image)
            part = answer.with_suffix(".part")
            part.write_text("kvm" if boots else "tcg")
            part.rename(answer)
            say(f"/dev/kvm: {'boots a kernel' if boots else 'does not boot a kernel, using TCG'}")
    return KVM if answer.read_text() == "kvm" else TCG


def _boots(image: Image) -> bool:
    command: list[str | Path] = ["qemu-system-x86_64", *KVM, "-cpu", "max", "-m", "512"]
    command += ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"]
    command += ["-kernel", image.kernel, "-initrd", image.initrd]
    command += ["-append", "console=ttyS0 panic=-1 rdinit=/bin/false"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIMIT, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return False
    return b"Run /bin/false as init process" in done.stdout
