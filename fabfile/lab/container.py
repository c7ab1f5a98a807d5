"""Throwaway privileged containers with systemd and sshd: on this machine's kernel where that has dm-thin, else in a VM.

A container's root is an overlay on the lab's disk image. It has a name, a port, and a directory of its own for what
cannot lie on an overlay: containerd's state and the pool.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fabfile.errors import Failed
from fabfile.lab import image, machines, tools
from fabfile.lab.vm import Vm
from fabfile.plan import words

CAP_SYS_RESOURCE = 24

Run = Callable[[str], str]
"""Runs a shell script where the containers are and returns what it printed."""

SHARED = """
set -eu
mkdir -p /srv/lab/root /srv/lab/containers
mountpoint -q /srv/lab/root || {mount} /srv/lab/root
"""

START = """
set -eu
d=/srv/lab/{name}
mkdir -p $d/containerd
printf '%s\\n' 'Port {port}' 'ListenAddress {listen}' 'HostKey /etc/ssh/lab_key' \\
  'AuthorizedKeysFile /etc/ssh/lab_authorized' >$d/sshd.conf
[ -e $d/key ] || ssh-keygen -q -t ed25519 -N '' -C {name} -f $d/key
printf '%s\\n' {authorized} >$d/authorized
chmod 600 $d/key $d/authorized
# By this libdm knows that a udevd is there to wait for; it would make no node of a device itself.
udev=''; [ ! -e /run/udev/control ] || udev=--volume=/run/udev:/run/udev:ro
{podman} run --detach --privileged --systemd=always --ipc=host --network=host --pids-limit=0 {flags} $udev \\
  --name={name} --hostname={name} --volume=/dev:/dev --volume=$d/containerd:/var/lib/containerd \\
  --volume=$d/sshd.conf:/etc/ssh/sshd_config.d/lab.conf:ro --volume=$d/key:/etc/ssh/lab_key:ro \\
  --volume=$d/authorized:/etc/ssh/lab_authorized:ro {masks} --rootfs /srv/lab/root:O /sbin/init >/dev/null
n=0; until {podman} exec {name} systemctl is-active -q ssh.service 2>/dev/null; do
  n=$((n + 1)); [ $n -lt 600 ] || {{ {podman} logs {name} | tail -n 20; exit 1; }}
  sleep 0.1
done
cut -d' ' -f1,2 $d/key.pub
"""

STOP = """
set -eu
{podman} rm --force --time=0 {name} >/dev/null
rm -rf /srv/lab/{name}
"""

# The machine's own udevd answers for all who share its IPC namespace and /dev; a second one would race with it.
MASKED = (
    "systemd-udevd.service", "systemd-udevd-kernel.socket", "systemd-udevd-control.socket", "systemd-networkd.service",
    "systemd-networkd.socket", "lvm2-monitor.service", "lvm2-lvmpolld.socket", "dm-event.socket",
    "blk-availability.service", "lab-seed.service",
)  # fmt: skip

LEFT = r"""
for d in /sys/block/loop*/loop /sys/block/dm-*; do [ ! -e "$d" ] || echo "$d"; done
# Podman mounts its storage over itself at its first run, and leaves it so.
cut -d' ' -f2 /proc/mounts | grep -v -e ^/srv/lab -e '^/var/lib/containers/storage/overlay$'
ps -eo args | grep -E '^[^ []*(conmon|containerd|dmeventd)' || true
"""


@dataclass(frozen=True)
class Container:
    """A running container, as a host of the inventory."""

    name: str
    port: int
    """The port of 127.0.0.1 on this machine that leads to its sshd."""
    inner: int
    """The port of 127.0.0.1 where it runs, for another container that is a gateway."""
    host_key: str
    run: Run
    podman: str

    def sh(self, script: str) -> str:
        """Run a script in it, past SSH."""
        return self.run(f"{self.podman} exec {self.name} sh -c {shlex.quote(script)}")


@dataclass(frozen=True)
class Site:
    """Where containers run."""

    run: Run
    podman: str
    flags: str
    listen: str
    authorized: str
    """The public key that may log in."""

    @contextmanager
    def container(self, name: str, port: int, inner: int) -> Iterator[Container]:
        """A container that listens on `inner`; whatever is left of it where it ran is a failure."""
        before = set(self.run(LEFT).splitlines())
        values = {"name": name, "port": inner, "listen": self.listen, "podman": self.podman, "flags": self.flags}
        masks = " ".join(f"--volume=/dev/null:/etc/systemd/system/{unit}:ro" for unit in MASKED)
        key = self.run(START.format(**values, authorized=words(self.authorized), masks=masks)).strip()
        try:
            yield Container(name, port, inner, key, self.run, self.podman)
        finally:
            self.run(STOP.format(**values))
        left = set(self.run(LEFT).splitlines()) - before
        if left:
            raise Failed(f"the container {name} left something behind", "\n".join(sorted(left)))


def inside(vm: Vm) -> Site:
    """In a VM, on its own disk: overlays lie on the empty second one, as they cannot lie below themselves."""

    def run(script: str) -> str:
        return tools.run(*vm.ssh(script))

    disk = words(machines.disk(vm, 1))
    run(f"mkfs.ext4 -q {disk} && mkdir -p /var/lib/containers && mount {disk} /var/lib/containers")
    run(SHARED.format(mount="mount --bind /"))
    # Podman puts the overlays of root directories where it keeps what is running: in memory, unless told otherwise.
    podman = "podman --runroot=/var/lib/containers/run"
    authorized = (vm.directory.parent / "id_ed25519.pub").read_text().strip()
    return Site(run, podman, "", "0.0.0.0", authorized)


@contextmanager
def here(base: image.Image, authorized: str) -> Iterator[Site]:
    """On this machine's own kernel."""

    def run(script: str) -> str:
        return tools.run("sh", "-c", script)

    run(SHARED.format(mount=f"mount -o loop,ro,noload {words(base.disk)}"))
    try:
        yield Site(run, "podman", " ".join(flags()), "127.0.0.1", authorized)
    finally:
        # Nothing but what is empty: whoever had a /srv/lab before keeps it.
        run("umount /srv/lab/root; rmdir /srv/lab/root /srv/lab/containers; rmdir --ignore-fail-on-non-empty /srv/lab")


def flags() -> list[str]:
    """What podman needs on this machine: without CAP_SYS_RESOURCE crun refuses, and limits cannot be raised."""
    status = Path("/proc/self/status").read_text()
    capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    if capabilities >> CAP_SYS_RESOURCE & 1:
        return []
    return ["--runtime=runc", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"]


def has_thin_pools() -> bool:
    """Whether this machine's kernel can hold a pool: dm-thin-pool is there or can be loaded."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", "dm_thin_pool"], check=False, capture_output=True)
    return Path("/sys/module/dm_thin_pool").exists()
