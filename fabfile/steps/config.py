"""containerd's configuration: our keys in config.toml, its unit, and the drop-in that ties it to its pool."""

from __future__ import annotations

from typing import Any

from fabfile import inventory, systemd
from fabfile.converge import converge
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.config import DIGEST
from fabfile.facts.containerd import SETTINGS
from fabfile.facts.query import about
from fabfile.host import Host
from fabfile.instance import OURS, Daemon
from fabfile.output.outcome import Outcome
from fabfile.plan import Change, Command, File, Step, file
from fabfile.pool import limits, ownership
from fabfile.remote.context import Context
from fabfile.render import render
from fabfile.shell import words
from fabfile.steps import ext4, foreign, overrides
from fabfile.steps.containerd import built
from fabfile.steps.settings import ORIGINAL, ContainerdSettings, config_format, edited, is_stock


def step(host: Host) -> Step:
    """The step that configures and starts containerd on the host's pool, and checks its devmapper plugin."""

    def plan(have: Facts) -> list[Change]:
        daemon = host.daemon
        systemd.refuse_masked(have, daemon.unit)
        _refuse_unit(have, daemon)
        systemd.refuse_changing(daemon.unit, have.containerd.changing)
        build = built(host, have.system.arch)
        version = build.release.containerd.version
        foreign.refuse(have, daemon, version)
        pool = host.pool
        limits.check_name(pool.dm_name)
        ownership.refuse_foreign(have, daemon, pool.dm_name, pool.dir)
        ownership.refuse_move(have, daemon, pool.dm_name, pool.dir, pool.variant)
        ownership.refuse_base_image_size(have, daemon, pool.base_image_size)
        now = have.files.get(daemon.config_path)
        before = now.content if now else ""
        want = ContainerdSettings(
            config_format(version, before), pool.dm_name, pool.dir, pool.base_image_size, host.bin_dir,
            have.system.arch, daemon.instance, daemon.mke2fs_path if ext4.CONF in have.files else "",
            ext4.options(have, pool, version),
        )  # fmt: skip
        text = edited(before, want)
        check = overrides.Requirements(daemon, want.format, want.pool, want.root, want.base_image_size, want.arch)
        installed = have.versions["containerd"].current == build.key
        overrides.refuse(have, check, text, installed=installed)
        digest = want.digest(text)
        files = _files(have, want, text, digest)
        return [*files, *_daemon(have, want, digest, files)]

    return Step("containerd.configure", plan, about(host, files=_looked_at(host.daemon)))


def _looked_at(daemon: Daemon) -> tuple[str, ...]:
    return daemon.config_path, daemon.unit_path, daemon.drop_in_path, daemon.mke2fs_path, ext4.CONF


def _refuse_unit(have: Facts, daemon: Daemon) -> None:
    now = have.files.get(daemon.unit_path)
    if daemon.instance and now and not now.content.startswith(OURS):
        raise Refused(f"{daemon.unit_path} exists and was not made by this tool", "", hint="choose another --instance")


def _files(have: Facts, want: ContainerdSettings, text: str, digest: str) -> list[Change]:
    daemon = want.daemon
    now = have.files.get(daemon.config_path)
    drop_in = render(
        "containerd/10-devmapper-pool.conf.j2",
        pool=want.pool, variable=SETTINGS, digest=digest, mke2fs=want.mke2fs, daemon=daemon,
        dump=DIGEST,
    )  # fmt: skip
    formatted: list[Change] = []
    if want.mke2fs:
        content = ext4.stopping_at_errors(have.files[ext4.CONF].content)
        formatted = file(
            have, "file systems on the pool stop at their first error", want.mke2fs,
            f"# Written by containerd-devmapper, from {ext4.CONF}.\n{content}",
        )  # fmt: skip
    unit = render(
        "containerd/containerd.service.j2", command=daemon.command, instance=daemon.instance, format=want.format
    )
    return [
        *file(
            have,
            "devmapper in containerd's configuration",
            daemon.config_path,
            text,
            # The file may contain a registry's password, and an operator may have chosen its mode.
            mode=now.mode if now else 0o600,
            validate=_valid(want, '"$1"'),
            backup=f"{daemon.config_path}{ORIGINAL if now and is_stock(now.content) else '.bak'}",
        ),
        *formatted,
        *file(have, "containerd's unit", daemon.unit_path, unit),
        *file(have, "containerd starts after its pool", daemon.drop_in_path, drop_in),
    ]


def _valid(want: ContainerdSettings, file: str) -> str:
    """Shell that fails if this containerd does not accept the configuration `file`, a shell word."""
    return f"{words(f'{want.bin_dir}/containerd')} --config {file} config dump >/dev/null"


def _daemon(have: Facts, want: ContainerdSettings, digest: str, files: list[Change]) -> list[Change]:
    unit, ctr = want.daemon.unit, want.daemon.ctr
    restart = systemd.start(files, unit, restart=True)
    if not any(isinstance(change, File) and change.path == want.daemon.config_path for change in files):
        # We did not write the file now, so it has not been validated: a running daemon must not stop for one that it
        # cannot load.
        restart = f"{_valid(want, words(want.daemon.config_path))}\n{restart}"
    # A restart succeeds as soon as the daemon is ready, even if a plugin failed.
    prove = (
        f"row=$({ctr} plugins ls </dev/null | awk '$2 == \"devmapper\"')\n"
        "case $row in *' ok'*) exit 0 ;; esac\n"
        f'echo "devmapper: ${{row:-no such plugin}}"\n{ctr} plugins ls -d id==devmapper </dev/null\nexit 1'
    )
    why, other = _why(have, want, digest)
    if other:
        # What it pulled and ran meanwhile may be on another pool, so an earlier smoke test no longer applies.
        restart = f"{words('rm', '-f', want.daemon.smoke_record_path)}\n{restart}"
    if not why:
        return []
    if have.containerd.active:
        systemd.refuse_killing(have, want.daemon, reloaded=True)
    return [Command(f"start containerd: {why}", f"{restart}\n{prove}")]


def _why(have: Facts, want: ContainerdSettings, digest: str) -> tuple[str, bool]:
    """Return why containerd has to be (re)started, if at all, and whether it ran with a foreign configuration."""
    now, plugin = have.containerd, have.containerd.plugin("snapshotter", "devmapper")
    strays = overrides.strays(now.command, want.daemon) if now.command else []
    if not now.active:
        return "it does not run", False
    if not now.enabled:
        return "it is not enabled", False
    if now.exe != now.current:
        return f"it runs {now.exe}", False
    if strays:
        return f"it runs with {', '.join(strays)}", True
    if now.settings != digest:
        return "its settings changed", False
    if now.loaded != have.config.digest:
        return "it was started with other files than there are now", True
    if plugin is None or plugin.status != "ok":
        return f"its devmapper plugin is {plugin.status if plugin else 'missing'}", False
    return "", False


def configure_containerd(c: Context, instance: str, **given: Any) -> list[Outcome]:
    """Configure the containerd of an instance.

    Args:
        c: the machine.
        instance: the containerd instance; see `inventory.of`.
        given: settings of the host that were typed.

    Raises:
        Pending: with --dry, if anything would change.
    """
    return converge(c, [step(inventory.of(c, instance, **given))])
