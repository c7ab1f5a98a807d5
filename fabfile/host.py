"""The settings of a host, declared once: validation of hosts.toml, flags, help and docs/hosts.md derive from them."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from fabfile import sizes
from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.instance import Daemon
from fabfile.option import about, size_of


def check_address(text: str, name: str) -> None:
    """Refuse what is not simply a host name or an IP address.

    Raises:
        Refused: with the key that the rest belongs to.
    """
    import ipaddress  # it is slow to import, and `inv --list` does not need it

    user, at, _ = text.rpartition("@")
    if "://" in text:
        raise Refused(f"{name}: {shown(text)} is a URL", "a host name or an IP address, without http:// or a path")
    if at:
        raise Refused(
            f"{name}: {shown(text)} has a user in it", "it has a key of its own", hint=f'write user = "{user}"'
        )
    with suppress(ValueError):
        ipaddress.ip_address(re.sub(r"%[A-Za-z0-9_.-]{1,15}$", "", text))
        return
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit() and ":" not in host:
        raise Refused(f"{name}: {shown(text)} has a port in it", "it has a key of its own", hint=f"write port = {port}")
    label = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    if len(text) > 253 or not re.fullmatch(rf"{label}(?:\.{label})*\.?", text):
        raise Refused(
            f"{name}: {shown(text)} is not a host name or an IP address", "letters, digits, dots, hyphens, at most 253"
        )


def check_user(text: str, name: str) -> None:
    """Refuse a login name that sshd would take for several words, or for an option."""
    if not re.fullmatch(r"[^\s:\x00-\x1f\x7f-][^\s:\x00-\x1f\x7f]{0,63}", text):
        raise Refused(f"{name}: {shown(text)} is not a login name", "without blanks and colons, at most 64 characters")


def check_label(text: str, name: str) -> None:
    """Refuse a label that cannot be typed after -H."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=/+-]{0,62}", text):
        raise Refused(f"{name}: {shown(text)} is not a label", "letters, digits and . _ = / + -, at most 63")


def check_path(text: str, name: str) -> None:
    """Refuse a path in the home directory of an unknown user."""
    try:
        Path(text).expanduser()
    except RuntimeError as error:
        raise Refused(f"{name}: {shown(text)} is not a path on this controller", str(error)) from error


def check_directory(text: str, name: str) -> None:
    """Refuse a path that is not absolute and normalised."""
    if not re.fullmatch(r"(/[A-Za-z0-9_.+@:-]+)+/?", text) or ".." in text.split("/"):
        raise Refused(
            f"{name}: {shown(text)} is not an absolute directory",
            "letters, digits and _ . + @ : - in each part",
            hint="for example /var/lib/containerd/devmapper",
        )


def size_or_share(text: str, name: str) -> None:
    """Refuse what is neither a size nor a percentage."""
    if not re.fullmatch(r"[0-9]{1,2}%", text):
        sizes.parse(text, name)


def lvm_name(group: str, volume: str) -> str:
    """Return the device-mapper name of a volume: both names with their hyphens doubled."""
    return "-".join(name.replace("-", "--") for name in (group, volume))


class Pool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The requested pool of a machine; each variant reads its own keys."""

    variant: Annotated[Literal["loop", "direct"], about("pool variant: two files, or whole disks by LVM")] = "loop"
    dir: Annotated[
        str,
        about(
            "directory of the snapshotter's databases and of a loop pool's files, on ext4 or xfs", check=check_directory
        ),
    ] = "/var/lib/containerd/devmapper"
    meta_size: Annotated[
        str,
        about(
            "size of the metadata device, for a direct pool also a percentage of its group; by default computed",
            check=size_or_share,
            unit="size",
        ),
    ] = ""
    base_image_size: Annotated[
        str, size_of("size of containers' file systems, in containerd's notation: GB is GiB", containerd=True)
    ] = "10GB"
    threshold: Annotated[
        int,
        about(
            "usage in percent at which the pool grows by itself, for a direct pool at least 50; 100: never",
            ge=1,
            le=100,
        ),
    ] = 80
    percent: Annotated[
        int, about("growth step in percent of the current size, for a direct pool at most 100", ge=1, le=1000)
    ] = 20
    max_size: Annotated[str, size_of("upper limit for the automatic growth of a loop pool; by default none")] = ""
    when_full: Annotated[
        Literal["queue", "error"], about("behaviour of a full pool: writers wait for space, or get an error at once")
    ] = "queue"

    name: Annotated[str, about("name of a loop pool; a direct pool is called VG-LV")] = "containerd-pool"
    size: Annotated[str, size_of("size of a loop pool's data device")] = "100G"
    block_size: Annotated[str, size_of("block size of a loop pool, a multiple of 64K up to 1G; cannot be changed")] = (
        "64K"
    )
    volume: Annotated[str, about("logical volume, VG/LV, to create, format with ext4 and mount at the directory")] = ""
    volume_size: Annotated[str, size_of("size of that volume")] = ""

    devices: Annotated[
        tuple[str, ...],
        about("whole, empty disks of a direct pool; without any, free space in an existing volume group"),
    ] = ()
    vg: Annotated[str, about("volume group of a direct pool")] = "containerd"
    lv: Annotated[str, about("name of a direct pool's logical volume")] = "thinpool"
    data_percent: Annotated[
        int, about("percent of the volume group used for data; the rest is left for growth", ge=1, le=100)
    ] = 80
    chunk_size: Annotated[
        str, size_of("block size of a direct pool, a multiple of 64K up to 1G; cannot be changed")
    ] = "512K"

    def given(self, options: dict[str, Any]) -> Pool:
        """Return this pool with the settings that were typed."""
        tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        return msgspec.structs.replace(self, **tuples)

    @property
    def dm_name(self) -> str:
        """The name of the pool's device, of its unit, and of containerd's `pool_name`.

        For a direct pool it is LVM's name, with hyphens doubled, and is compared with what LVM reports.
        """
        if self.variant == "loop":
            return self.name
        return lvm_name(self.vg, self.lv)


LOOP_OPTIONS = (
    "size", "meta_size", "name", "dir", "block_size", "volume", "volume_size",
    "threshold", "percent", "max_size", "when_full",
)  # fmt: skip
"""Fields of a pool that are options of pool.loop."""

DIRECT_OPTIONS = (
    "devices", "data_percent", "meta_size", "chunk_size", "vg", "lv", "threshold", "percent", "when_full",
)  # fmt: skip
"""Fields of a pool that are options of pool.direct."""

DEPLOY_OPTIONS = ("variant", "size", "devices")
"""Fields of a pool that are options of deploy."""


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of a machine."""

    name: str = ""
    address: Annotated[str, about("host name or IP address; by default the host's name", check=check_address)] = ""
    port: Annotated[int, about("TCP port of sshd", ge=1, le=65535)] = 22
    user: Annotated[str, about("login name", check=check_user)] = "root"
    identity_file: Annotated[str, about("private key file; by default agent and default keys", check=check_path)] = ""
    known_hosts: Annotated[str, about("file of known host keys", check=check_path)] = "~/.ssh/known_hosts"
    labels: Annotated[
        tuple[str, ...], about("words to select hosts by; `-H @WORD` selects all that have it", check=check_label)
    ] = ()
    gateway: Annotated[str, about("host in this file through which to connect")] = ""
    connect_timeout: Annotated[int, about("seconds to wait for a connection", ge=1, le=3600)] = 20
    keep_connection: Annotated[
        int, about("seconds for which ssh keeps the connection for further runs; 0: not at all", ge=0, le=86400)
    ] = 0
    release: Annotated[str, about("release set of releases.toml")] = "2.3"
    mirror: Annotated[str, about("directory or URL with the files of the release; by default their official URLs")] = ""
    registry: Annotated[str, about("registry address of the smoke test; http:// for one without TLS")] = (
        "https://docker.io"
    )
    image: Annotated[str, about("image of the smoke test, REPOSITORY:TAG")] = "library/hello-world:latest"
    build: Annotated[Literal["controller", "host"], about("computer that builds containerd")] = "controller"
    bin_dir: Annotated[str, about("directory of links to containerd's programs", check=check_directory)] = (
        "/usr/local/bin"
    )
    instance: Annotated[
        str, about("containerd instance, with a pool of its own; by default the one without a name")
    ] = ""
    pool: Pool = Pool()

    @property
    def daemon(self) -> Daemon:
        """Its containerd."""
        return Daemon(self.instance, self.bin_dir)
