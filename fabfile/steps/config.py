"""containerd's configuration: our keys in config.toml, the unit, the drop-in that ties it to its pool, the proof."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from invoke import Context

from fabfile import document as toml
from fabfile import inventory
from fabfile.converge import converge
from fabfile.daemon import OURS, Daemon
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.containerd import SETTINGS
from fabfile.inventory import Host
from fabfile.outcome import Outcome
from fabfile.plan import Change, Command, File, Step, file, words
from fabfile.render import render
from fabfile.steps import ext4, service
from fabfile.steps.containerd import refuse_foreign
from fabfile.steps.pool import owner, thin
from fabfile.steps.toolchain import SOURCES
from fabfile.task import Instance, task

DEVMAPPER = "io.containerd.snapshotter.v1.devmapper"
TRANSFER = "io.containerd.transfer.v1.local"

CRI_SNAPSHOTTER: dict[int, tuple[str, ...]] = {
    1: ("plugins", "cri", "containerd"),
    2: ("plugins", "io.containerd.grpc.v1.cri", "containerd"),
    3: ("plugins", "io.containerd.cri.v1.images"),
}
"""Format of config.toml → the table that holds CRI's `snapshotter`."""


NEW = "Only what differs from containerd's own defaults: see containerd config default."
"""How a config.toml begins that was not there before."""


class Want(msgspec.Struct, frozen=True, omit_defaults=True):
    """The settings that are ours."""

    format: int
    pool: str
    root: str
    base_image_size: str
    bin_dir: str
    arch: str
    instance: str = ""
    mke2fs: str = ""
    """Path of the configuration for its file systems; empty where the machine has none to start from."""
    fs_options: str = ""
    """How it makes them, unless the machine's own configuration says that; empty: as containerd does by itself."""

    @property
    def daemon(self) -> Daemon:
        """Whose they are."""
        return Daemon(self.instance, self.bin_dir)

    def digest(self, text: str) -> str:
        """What a daemon carries in its environment that was started with these settings, and `text` as its file."""
        return hashlib.sha256(msgspec.json.encode(self) + text.encode()).hexdigest()[:16]


def config_format(version: str) -> int:
    """The format of config.toml to write for a containerd: 1 before 1.3, 2 before 2.0, then 3.

    2.3 knows a format 4 too; 3 keeps the way back to an older one open. The master of 2020 reads 2.
    """
    major, _, rest = version.partition(".")
    if not major.isdigit():
        return 2
    minor = rest.partition(".")[0]
    return 3 if int(major) >= 2 else 2 if int(minor) >= 3 else 1


def edited(text: str | None, want: Want) -> str:
    """config.toml with our keys as wanted; every other key and comment stays.

    Raises:
        Refused: the file is not TOML, or is in another format than this containerd gets from us.
    """
    import tomlkit

    where = want.daemon.config
    document = toml.editable(text or "", where)
    if text is None:
        document.add(tomlkit.comment(NEW))
    now = document.unwrap().get("version", 1)
    if text is not None and text.strip() and now != want.format:
        raise Refused(
            f"{want.daemon.config} is in format {now}, this containerd gets format {want.format}",
            "a key under the wrong format's name would be ignored without a word",
            hint="containerd config migrate, or move the file away",
        )
    if want.format > 1 and "version" not in document:
        document["version"] = want.format
    before = document.unwrap()
    if want.instance:
        _set(where, document, (), {"root": want.daemon.root, "state": want.daemon.state})
        _set(where, document, ("grpc",), {"address": want.daemon.socket})
    devmapper = "devmapper" if want.format == 1 else DEVMAPPER
    settings: dict[str, Any] = {"pool_name": want.pool, "root_path": want.root, "base_image_size": want.base_image_size}
    if want.format > 1:
        settings["discard_blocks"] = True
    _set(where, document, ("plugins", devmapper), settings)
    _set_ours(document["plugins"][devmapper], "fs_options", want.fs_options, ext4.ZEROED)
    _set(where, document, CRI_SNAPSHOTTER[want.format], {"snapshotter": "devmapper"})
    if want.format >= 3:
        # Setting this replaces the default, so both snapshotters are named.
        unpack = [{"platform": f"linux/{want.arch}", "snapshotter": s} for s in ("devmapper", "overlayfs")]
        _set(where, document, ("plugins", TRANSFER), {"unpack_config": unpack})
    if text is not None and document.unwrap() == before:
        return text
    return toml.written(document, where)


def _set(where: str, document: Any, keys: tuple[str, ...], values: dict[str, Any]) -> None:
    table = document
    for number, key in enumerate(keys):
        table = toml.table(table, key, where, super_table=number + 1 < len(keys))
    for key, value in values.items():
        if key not in table or table[key] != value:
            table[key] = value


def _set_ours(table: Any, key: str, value: str, ours: str) -> None:
    """Set a key that only we had a say in, or remove it where `value` is empty; a person's own stays."""
    if table.get(key, ours) == ours:
        table.pop(key, None)
        if value:
            table[key] = value


def cleared(text: str) -> str | None:
    """config.toml without our keys; None for one that is ours as a whole, or of which nothing is left.

    Raises:
        Refused: it is not TOML.
    """
    if text.startswith(f"# {NEW}"):
        return None
    where = "containerd's configuration"
    document = toml.editable(text, where)
    before = document.unwrap()
    for name in ("devmapper", DEVMAPPER):
        _unset(document, ("plugins", name), "pool_name", "root_path", "base_image_size", "discard_blocks")
        _unset(document, ("plugins", name), "fs_options", only=ext4.ZEROED)
    for keys in CRI_SNAPSHOTTER.values():
        _unset(document, keys, "snapshotter", only="devmapper")
    _unset(document, ("plugins", TRANSFER), "unpack_config")
    now = document.unwrap()
    if now == before:
        return text
    return toml.written(document, where) if now.keys() - {"version"} else None


def _unset(document: Any, keys: tuple[str, ...], *names: str, only: str | None = None) -> None:
    """Remove `names` from the table `keys`, if they have the value `only`; and every table that is empty then."""
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


def step(host: Host, release: str, mirror: str) -> Step:
    """The step that configures, starts and proves containerd on the pool of `host`."""

    def plan(have: Facts) -> list[Change]:
        from fabfile import releases

        refuse_foreign(have)
        daemon = host.daemon
        service.refuse_masked(have, daemon.unit)
        _refuse_unit(have, daemon)
        service.refuse_changing(daemon.unit, have.containerd.changing)
        version = releases.load(release, have.system.arch, mirror).containerd.version
        pool = host.pool
        thin.check_name(pool.dm_name)
        owner.refuse_foreign(have, daemon, pool.dm_name, pool.dir)
        owner.refuse_move(have, daemon, pool.dm_name, pool.dir, pool.variant)
        owner.refuse_base_image_size(have, daemon, pool.base_image_size)
        want = Want(
            config_format(version), pool.dm_name, pool.dir, pool.base_image_size, host.bin_dir, have.system.arch,
            daemon.instance, daemon.mke2fs if ext4.CONF in have.files else "", ext4.options(have, pool, version),
        )  # fmt: skip
        now = have.files.get(daemon.config)
        text = edited(now.content if now else None, want)
        files = _files(have, want, text)
        return [*files, *_daemon(have, want, text, files)]

    return Step("containerd.configure", plan, _looked_at(host.daemon))


def _looked_at(daemon: Daemon) -> tuple[str, ...]:
    return daemon.config, daemon.unit_path, daemon.drop_in, daemon.mke2fs, ext4.CONF


def _refuse_unit(have: Facts, daemon: Daemon) -> None:
    now = have.files.get(daemon.unit_path)
    if daemon.instance and now and not now.content.startswith(OURS):
        raise Refused(f"{daemon.unit_path} exists and is not ours", "", hint="choose another --instance")


def _files(have: Facts, want: Want, text: str) -> list[Change]:
    daemon = want.daemon
    drop_in = render(
        "containerd/10-devmapper-pool.conf.j2",
        pool=want.pool, variable=SETTINGS, digest=want.digest(text), mke2fs=want.mke2fs,
    )  # fmt: skip
    formatted: list[Change] = []
    if want.mke2fs:
        content = ext4.stopping_at_errors(have.files[ext4.CONF].content)
        formatted = file(
            have, "file systems on the pool stop at their first error", want.mke2fs,
            f"# Written by containerd-devmapper, from {ext4.CONF}.\n{content}",
        )  # fmt: skip
    unit = render("containerd/containerd.service.j2", command=daemon.command, instance=daemon.instance)
    return [
        *file(
            have,
            "devmapper in containerd's configuration",
            daemon.config,
            text,
            # It may hold a registry's password, and a person may have said who reads it.
            mode=have.files[daemon.config].mode if daemon.config in have.files else 0o600,
            validate=_valid(want, '"$1"'),
            backup=f"{daemon.config}.bak",
        ),
        *formatted,
        *file(have, "containerd's unit", daemon.unit_path, unit),
        *file(have, "containerd starts after its pool", daemon.drop_in, drop_in),
    ]


def _valid(want: Want, file: str) -> str:
    """Shell that fails where this containerd does not take the configuration `file`, a word."""
    return f"{words(f'{want.bin_dir}/containerd')} --config {file} config dump >/dev/null"


def _daemon(have: Facts, want: Want, text: str, files: list[Change]) -> list[Change]:
    now = have.containerd
    unit, ctr = want.daemon.unit, want.daemon.ctr
    restart = service.start(files, unit, restart=True)
    if not any(isinstance(change, File) and change.path == want.daemon.config for change in files):
        # Not ours to validate when it was written: a daemon that runs does not go down for a file that it cannot load.
        restart = f"{_valid(want, words(want.daemon.config))}\n{restart}"
    # The restart succeeds when the daemon says that it is ready; a plugin may have failed all the same.
    prove = (
        f"row=$({ctr} plugins ls </dev/null | awk '$2 == \"devmapper\"')\n"
        "case $row in *' ok'*) exit 0 ;; esac\n"
        f'echo "devmapper: ${{row:-no such plugin}}"\n{ctr} plugins ls -d id==devmapper </dev/null\nexit 1'
    )
    exe = f"/opt/containerd/{have.versions['containerd'].current}/bin/containerd"
    plugin = now.plugin("snapshotter", "devmapper")
    why = ""
    if not now.active:
        why = "it does not run"
    elif not now.enabled:
        why = "it is not enabled"
    elif now.exe != exe:
        why = f"it runs {now.exe}"
    elif now.settings != want.digest(text):
        why = "its settings changed"
    elif plugin is None or plugin.status != "ok":
        why = f"its devmapper plugin is {plugin.status if plugin else 'missing'}"
    return [Command(f"start containerd: {why}", f"{restart}\n{prove}")] if why else []


@task(settings=SOURCES, diff=True)
def configure(c: Context, instance: Instance = "", **given: Any) -> list[Outcome]:
    """Configure containerd for the pool, start it, and prove that its devmapper plugin is ok."""
    host = inventory.of(c, instance, **given)
    query = msgspec.structs.replace(thin.query(host.pool, host.instance), bin_dir=host.bin_dir)
    return converge(c, [step(host, host.release, host.mirror)], query)
