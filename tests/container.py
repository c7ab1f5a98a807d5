"""Privileged throwaway containers with systemd and sshd: on the controller's kernel if it has dm-thin, else in a VM.

A container's root is an overlay on the lab's disk image. What cannot lie on an overlay, containerd's state and the
pool, is in a directory of its own.
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
from fabfile.shell import words

CAP_SYS_RESOURCE = 24

Run = Callable[[str], str]
"""Runs a shell script where the containers are, and returns its output."""

SHARED = """
set -eu
mkdir -p /srv/lab/root /srv/lab/containers
mountpoint -q /srv/lab/root || {mount} /srv/lab/root
"""

# Only what is empty is removed: a /srv/lab that existed before is kept.
UNSHARED = """
! mountpoint -q /srv/lab/root || umount /srv/lab/root
for d in /srv/lab/root /srv/lab/containers /srv/lab; do
  [ ! -d $d ] || rmdir --ignore-fail-on-non-empty $d || exit
done
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
# This tells libdm that there is a udevd to wait for; otherwise it would create device nodes itself.
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
{podman} rm --force --ignore --time=0 {name} >/dev/null
rm -rf /srv/lab/{name}
"""

# The machine's own udevd serves everyone who shares its IPC namespace and /dev; a second one would race with it.
MASKED = (
    "systemd-udevd.service", "systemd-udevd-kernel.socket", "systemd-udevd-control.socket", "systemd-networkd.service",
    "systemd-networkd.socket", "lvm2-monitor.service", "lvm2-lvmpolld.socket", "dm-event.socket",
    "blk-availability.service", "lab-seed.service",
)  # fmt: skip

LEFT = r"""
for d in /sys/block/loop*/loop /sys/block/dm-*; do [ ! -e "$d" ] || echo "$d"; done
# Podman mounts its storage over itself when it first runs, and leaves it so.
cut -d' ' -f2 /proc/mounts | grep -v -e ^/srv/lab -e '^/var/lib/containers/storage/overlay$'
ps -eo args | grep -E '^[^ []*(conmon|containerd|dmeventd)' || true
"""


@dataclass(frozen=True)
class Container:
    """A running container, as a host of the inventory."""

    name: str
    port: int
    """Port of 127.0.0.1 on the controller that leads to its sshd."""
    inner: int
    """Port of 127.0.0.1 where it runs, for another container that serves as a gateway."""
    host_key: str
    run: Run
    podman: str

    def sh(self, script: str) -> str:
        """Run a script in it, bypassing SSH."""
        return self.run(f"{self.podman} exec {self.name} sh -c {shlex.quote(script)}")


@dataclass(frozen=True)
class Site:
    """A place where containers run."""

    run: Run
    podman: str
    flags: str
    listen: str
    authorized: str
    """Public key that may log in."""

    @contextmanager
    def container(self, name: str, port: int, inner: int) -> Iterator[Container]:
        """Run a container that listens on port `inner` there, and on `port` here.

        Raises:
            Failed: the container left something behind.
        """
        before = set(self.run(LEFT).splitlines())
        values = {"name": name, "port": inner, "listen": self.listen, "podman": self.podman, "flags": self.flags}
        masks = " ".join(f"--volume=/dev/null:/etc/systemd/system/{unit}:ro" for unit in MASKED)
        try:
            key = self.run(START.format(**values, authorized=words(self.authorized), masks=masks)).strip()
            yield Container(name, port, inner, key, self.run, self.podman)
        finally:
            self.run(STOP.format(**values))
        left = set(self.run(LEFT).splitlines()) - before
        if left:
            raise Failed(f"the container {name} left something behind", "\n".join(sorted(left)))


def inside(vm: Vm) -> Site:
    """Run containers in a VM; overlays are on its empty second disk, as an overlay cannot lie below itself."""

    def run(script: str) -> str:
        return tools.run(*vm.ssh(script))

    disk = words(machines.disk(vm, 1))
    run(f"mkfs.ext4 -q {disk} && mkdir -p /var/lib/containers && mount {disk} /var/lib/containers")
    run(SHARED.format(mount="mount --bind /"))
    # Podman keeps the overlays of root directories with its run-time state, by default in memory.
    podman = "podman --runroot=/var/lib/containers/run"
    authorized = (vm.directory.parent / "id_ed25519.pub").read_text().strip()
    return Site(run, podman, "", "0.0.0.0", authorized)


@contextmanager
def here(base: image.Image, authorized: str) -> Iterator[Site]:
    """Run containers on the controller's own kernel."""

    def run(script: str) -> str:
        return tools.run("sh", "-c", script)

    try:
        run(SHARED.format(mount=f"mount -o loop,ro,noload {words(base.disk)}"))
        yield Site(run, "podman", " ".join(flags()), "127.0.0.1", authorized)
    finally:
        run(UNSHARED)


def flags() -> list[str]:
    """Options that podman needs here: without CAP_SYS_RESOURCE, crun refuses to run, and limits cannot be raised."""
    status = Path("/proc/self/status").read_text()
    capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    if capabilities >> CAP_SYS_RESOURCE & 1:
        return []
    return ["--runtime=runc", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"]


def has_thin_pools() -> bool:
    """Return whether the controller's kernel can have pools: dm-thin-pool is there, or can be loaded."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", "dm_thin_pool"], check=False, capture_output=True)
    return Path("/sys/module/dm_thin_pool").exists()
