"""Our keys in config.toml, in every format; all other keys are left alone."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from fabfile import hints
from fabfile import untrusted_toml as toml
from fabfile.errors import Refused
from fabfile.facts.config import DEVMAPPER, IMAGES, NRI, SERVER, TRANSFER
from fabfile.instance import Daemon
from fabfile.shell import words
from fabfile.steps import ext4

CRI_SNAPSHOTTER: dict[int, tuple[str, ...]] = {
    1: ("plugins", "cri", "containerd"),
    2: ("plugins", "io.containerd.grpc.v1.cri", "containerd"),
    3: ("plugins", IMAGES),
    4: ("plugins", IMAGES),
}
"""Format of config.toml → the table with CRI's `snapshotter`."""


NEW = "Only what differs from containerd's own defaults: see containerd config default."
"""First line of a config.toml that we created."""


ORIGINAL = ".orig"
"""Suffix of the copy of a config.toml without settings that ours replaced."""


class ContainerdSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """The settings that are ours."""

    format: int
    pool: str
    root: str
    base_image_size: str
    bin_dir: str
    arch: str
    instance: str = ""
    mke2fs: str = ""
    """Path of the configuration for its file systems; empty if the machine has no mke2fs.conf to start from."""
    fs_options: str = ""
    """Options for making file systems, unless config.toml has its own; empty: containerd's default."""

    @property
    def daemon(self) -> Daemon:
        """The containerd that they are for."""
        return Daemon(self.instance, self.bin_dir)

    def digest(self, text: str) -> str:
        """Return the digest of these settings and of config.toml, which the daemon then has in its environment."""
        return hashlib.sha256(msgspec.json.encode(self) + text.encode(errors="surrogateescape")).hexdigest()[:16]


def config_format(version: str, text: str = "") -> int:
    """Return the format of config.toml to write for a containerd: 1 before 1.3, 2 before 2.0, otherwise 3.

    2.3 supports format 4, too, which an existing file keeps; format 3 allows a return to an older version. The main
    branch of 2020 reads 2.

    Args:
        version: containerd's version.
        text: the existing file; empty if there is none.
    """
    major, _, rest = version.partition(".")
    if not major.isdigit():
        return 2
    minor = int("0" + (re.match(r"\d*", rest) or [""])[0])
    if (int(major), minor) >= (2, 3) and other_format(text, 3) and not other_format(text, 4):
        return 4
    return 3 if int(major) >= 2 else 2 if minor >= 3 else 1


PACKAGED = ["cri"]
"""`disabled_plugins` in the config.toml of Docker's package, which otherwise contains only comments."""


FORMATS = (1, 2, 3, 4)
"""Existing formats of config.toml."""


def is_stock(text: str) -> bool:
    """Return whether a config.toml has no settings: only comments, or what Docker's package has."""
    try:
        document = toml.loads(text)
    except ValueError:
        return False
    if document.keys() == {"version"}:
        return _format(document) in FORMATS
    return document in ({}, {"disabled_plugins": PACKAGED})


def _format(document: Any) -> int:
    """The format that a document states; 1 if it states none, 0 if that is not a number."""
    version = document.get("version", 1)
    return version if isinstance(version, int) else 0


FORMATTED = frozenset({"plugins", "disabled_plugins", "required_plugins", "imports"})
"""Keys of config.toml whose meaning depends on the format."""


def _other(document: Any, format: int) -> int:
    """The format of a document, if it differs from `format` and that matters; otherwise 0."""
    now = _format(document)
    return now if now != format and FORMATTED & document.keys() else 0


def other_format(text: str, format: int) -> bool:
    """Return whether a config.toml is in another format, and has keys that mean something else in `format`."""
    try:
        return not is_stock(text) and bool(_other(toml.loads(text), format))
    except ValueError:
        return False


def is_ours(text: str, daemon: Daemon) -> bool:
    """Return whether a config.toml has no settings but ours, so that it can be written anew in any format."""
    document = toml.editable(text, daemon.config_path)
    _clear(document)
    if daemon.instance:
        _unset(document, (), "root", only=daemon.root)
        _unset(document, (), "state", only=daemon.state)
        _unset(document, ("grpc",), "address", only=daemon.socket)
        _unset(document, ("plugins", f"{SERVER}.grpc"), "address", only=daemon.socket)
        _unset(document, ("plugins", f"{SERVER}.ttrpc"), "address", only=f"{daemon.socket}.ttrpc")
        _unset(document, ("plugins", NRI), "socket_path", only=daemon.nri)
    return not document.unwrap().keys() - {"version"}


def _document(text: str | None, want: ContainerdSettings) -> Any:
    """The config.toml to edit, in the wanted format."""
    import tomlkit

    config = want.daemon.config_path
    if text is None or is_stock(text) or (other_format(text, want.format) and is_ours(text, want.daemon)):
        document = tomlkit.document()
        document.add(tomlkit.comment(NEW))
        text = ""
    else:
        document = toml.editable(text, config)
    if text and _format(document.unwrap()) not in FORMATS:
        raise Refused(f"{config}: version: not a format of containerd's", f"{document['version']!r:.200}")
    now = _other(document.unwrap(), want.format) if text else 0
    if now:
        away = words("mv", config, f"{config}.old")
        raise Refused(
            f"{config} is in format {now}, this containerd gets format {want.format}",
            "a key under the wrong format's name would be silently ignored",
            hint=f"{hints.on_host(away)}; then {hints.command('deploy', want.daemon)}; then write what you need of "
            f"{config}.old into {config}, in format {want.format}",
        )
    if document.get("version", 1) != want.format:
        document["version"] = want.format
    return document


def edited(text: str | None, want: ContainerdSettings) -> str:
    """Return config.toml with our keys; other keys and comments are kept.

    A file without settings is replaced, and one that has no other settings than ours, if it is in another format.

    Args:
        text: the current file; None if there is none.
        want: our settings.

    Raises:
        Refused: the file is not TOML, or is in another format than the one for this containerd.
    """
    where = want.daemon.config_path
    document = _document(text, want)
    before = document.unwrap()
    if want.instance:
        _set(where, document, (), {"root": want.daemon.root, "state": want.daemon.state})
        if want.format < 4:
            _set(where, document, ("grpc",), {"address": want.daemon.socket})
        else:  # the second socket does not follow from the first any more
            _set(where, document, ("plugins", f"{SERVER}.grpc"), {"address": want.daemon.socket})
            _set(where, document, ("plugins", f"{SERVER}.ttrpc"), {"address": f"{want.daemon.socket}.ttrpc"})
        if want.format >= 3:  # before, NRI is disabled by default
            _set(where, document, ("plugins", NRI), {"socket_path": want.daemon.nri})
    devmapper = "devmapper" if want.format == 1 else DEVMAPPER
    settings: dict[str, Any] = {"pool_name": want.pool, "root_path": want.root, "base_image_size": want.base_image_size}
    if want.format > 1:
        settings["discard_blocks"] = True
    _set(where, document, ("plugins", devmapper), settings)
    _set_ours(document["plugins"][devmapper], "fs_options", want.fs_options, ext4.ZEROED)
    _set(where, document, CRI_SNAPSHOTTER[want.format], {"snapshotter": "devmapper"})
    if want.format >= 3:
        # This setting replaces the default, so both snapshotters have to be named.
        unpack = [{"platform": f"linux/{want.arch}", "snapshotter": s} for s in ("devmapper", "overlayfs")]
        _add(where, document, ("plugins", TRANSFER), "unpack_config", unpack)
    if text is not None and document.unwrap() == before:
        return text
    return toml.written(document, where)


def _table(where: str, document: Any, keys: tuple[str, ...]) -> Any:
    table = document
    for number, key in enumerate(keys):
        table = toml.table(table, key, where, super_table=number + 1 < len(keys))
    return table


def _set(where: str, document: Any, keys: tuple[str, ...], values: dict[str, Any]) -> None:
    table = _table(where, document, keys)
    for key, value in values.items():
        if key not in table or table[key] != value:
            table[key] = value


def _add(where: str, document: Any, keys: tuple[str, ...], name: str, wanted: list[dict[str, Any]]) -> None:
    """Add tables to a list; one that an operator gave more keys stays as it is."""
    table = _table(where, document, keys)
    now = table.get(name)
    if not isinstance(now, list) or not all(isinstance(one, dict) for one in now):
        table[name] = wanted
        return
    for one in wanted:
        if not any(one.items() <= there.items() for there in now):
            now.append(one)


def _set_ours(table: Any, key: str, value: str, ours: str) -> None:
    """Set a key, or remove it if `value` is empty; a value other than `ours`, which an operator set, is kept.

    The file that `containerd config default` prints has the key, with an empty value, which means the default.
    """
    now = table.get(key, "")
    if now == value or now not in ("", ours):
        return
    if value:
        table[key] = value
    else:
        del table[key]


def cleared(text: str) -> str | None:
    """Return config.toml without our keys; None if nothing else is in it.

    Raises:
        Refused: it is not TOML.
    """
    where = "containerd's configuration"
    document = toml.editable(text, where)
    before = document.unwrap()
    _clear(document)
    now = document.unwrap()
    if now == before:
        return text
    return toml.written(document, where) if now.keys() - {"version"} else None


def _clear(document: Any) -> None:
    """Remove our keys, except those that only an instance has."""
    for name in ("devmapper", DEVMAPPER):
        _unset(document, ("plugins", name), "pool_name", "root_path", "base_image_size", "discard_blocks")
        _unset(document, ("plugins", name), "fs_options", only=ext4.ZEROED)
    for keys in CRI_SNAPSHOTTER.values():
        _unset(document, keys, "snapshotter", only="devmapper")
    _unset_unpacking(document)


def _unset_unpacking(document: Any) -> None:
    """Remove what unpacks for devmapper: without a pool, containerd's transfer service would not load because of it.

    overlayfs stays beside entries of an operator's, as its default does not apply there.
    """
    table = document
    for key in ("plugins", TRANSFER, "unpack_config"):
        table = table.get(key) if isinstance(table, dict) else None
    now = table if isinstance(table, list) else []
    for number in reversed(range(len(now))):
        if isinstance(now[number], dict) and now[number].get("snapshotter") == "devmapper":
            del now[number]
    bare = {"platform", "snapshotter"}
    if all(set(one) == bare and one["snapshotter"] == "overlayfs" for one in now if isinstance(one, dict)):
        _unset(document, ("plugins", TRANSFER), "unpack_config")


def _unset(document: Any, keys: tuple[str, ...], *names: str, only: str | None = None) -> None:
    """Remove `names` from the table `keys`, if they have the value `only`, and then every table that is empty."""
    way = [document]
    for key in keys:
        below = way[-1].get(key)
        if not isinstance(below, dict):
            return
        way.append(below)
    for name in names:
        if name in way[-1] and only in (None, way[-1][name]):
            del way[-1][name]
    for table, key in zip(reversed(way[:-1]), reversed(keys), strict=True):
        if not table[key]:
            del table[key]
