"""Programs of Debian that this machine lacks: their packages, unpacked in the cache and installed nowhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fabfile import paths
from fabfile.lab import store, tools

PACKAGES = {
    "busybox": ("busybox",),
    "dropbear": ("dropbear-bin", "libtomcrypt1", "libtommath1"),
    "faketime": ("libfaketime",),
    "fish": ("fish", "fish-common", "libpcre2-32-0"),
    "iptables": (
        "iptables", "libip4tc2", "libip6tc2", "libmnl0", "libnetfilter-conntrack3", "libnfnetlink0", "libnftnl11",
        "libxtables12",
    ),
    "sshd": ("openssh-server", "libwrap0"),
    "sudo": ("sudo",),
    "tcsh": ("tcsh",),
}  # fmt: skip
"""Program → its packages. A server that was installed would start, too, and listen to everybody."""

FETCH = """set -eu
cd "$1"
shift
apt-get download -q -o APT::Sandbox::User=root "$@"
for package in *.deb; do dpkg-deb -x "$package" .; rm "$package"; done
for old in bin sbin lib; do [ ! -d "$old" ] || { mkdir -p usr; cp -a "$old" usr/; rm -r "$old"; }; done
"""


def usr(program: str) -> list[Path]:
    """What has to be laid over /usr for the program to be there: nothing, or one directory."""
    if tools.which(program):
        return []
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    wanted = paths.cache() / "debian" / f"{program}-{architecture}"

    def make(part: Path, log: Path) -> None:
        tools.run("sh", "-c", FETCH, "sh", part, *PACKAGES[program], log=log)

    store.find(wanted, make)
    return [wanted / "usr"]
