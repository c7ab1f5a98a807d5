"""config.toml: our keys, and no others, in every format."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import msgspec
import pytest

from fabfile import hints
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.config import Config as ConfigFacts
from fabfile.facts.containerd import Containerd, KillLine, Plugin
from fabfile.facts.files import FileFact
from fabfile.host import Host
from fabfile.plan import Command, File
from fabfile.render import render
from fabfile.steps import config, ext4, settings
from fabfile.steps.containerd import built
from tests.unit import typed
from tests.unit.steps.conftest import with_versions

PLUGIN = "io.containerd.snapshotter.v1.devmapper"
NRI = "io.containerd.nri.v1.nri"


def want(format: int, **changes: Any) -> settings.ContainerdSettings:
    values: dict[str, Any] = {
        "format": format, "pool": "pool", "root": "/srv/pool", "base_image_size": "10GB", "bin_dir": "/usr/local/bin",
        "arch": "amd64",
    }  # fmt: skip
    return settings.ContainerdSettings(**(values | changes))


@pytest.mark.parametrize(
    ("version", "format"),
    [
        ("1.2.14", 1),
        ("1.3.0", 2),
        ("1.6.20", 2),
        ("1.7.34", 2),
        ("2.0.0", 3),
        ("2.3.4", 3),
        ("master-2020-04-09", 2),
    ],
)
def test_the_format_that_a_version_reads(version: str, format: int) -> None:
    assert settings.config_format(version) == format


DEFAULT = """version = 4
[plugins]
  [plugins.'io.containerd.cri.v1.images']
    snapshotter = 'overlayfs'
  [plugins.'io.containerd.server.v1.grpc']
    address = '/run/containerd/containerd.sock'
"""
"""An extract of what containerd 2.3 prints as its default configuration."""


def test_a_file_in_format_4_stays_in_it_where_containerd_reads_it() -> None:
    formats = [settings.config_format(version, DEFAULT) for version in ("1.7.34", "2.2.7", "2.3.4", "2.10.0", "3.0.0")]
    assert formats == [2, 3, 4, 4, 4]
    assert settings.config_format("2.3.4", "version = 4\n") == 3, "it has no settings, and is replaced"
    assert settings.config_format("2.3.4", settings.edited(None, want(3))) == 3
    text = settings.edited(DEFAULT, want(4))
    assert settings.edited(text, want(4)) == text
    now, new = tomllib.loads(text), tomllib.loads(settings.edited(None, want(3)))
    del now["plugins"]["io.containerd.server.v1.grpc"]
    assert now == {**new, "version": 4}
    assert tomllib.loads(str(settings.cleared(text)))["plugins"] == {
        "io.containerd.server.v1.grpc": {"address": "/run/containerd/containerd.sock"}
    }


def test_in_format_4_both_sockets_of_an_instance_are_set() -> None:
    plugins = tomllib.loads(settings.edited("version = 4\noom_score = 0\n", want(4, instance="two")))["plugins"]
    assert plugins["io.containerd.server.v1.grpc"] == {"address": "/run/containerd-two/containerd.sock"}
    assert plugins["io.containerd.server.v1.ttrpc"] == {"address": "/run/containerd-two/containerd.sock.ttrpc"}


def test_format_1_has_short_names() -> None:
    plugins = tomllib.loads(settings.edited(None, want(1)))["plugins"]
    assert plugins["devmapper"]["pool_name"] == "pool"
    assert plugins["cri"]["containerd"]["snapshotter"] == "devmapper"


def test_format_2_has_full_names() -> None:
    document = tomllib.loads(settings.edited(None, want(2)))
    assert document["version"] == 2
    assert document["plugins"][PLUGIN] == {
        "pool_name": "pool", "root_path": "/srv/pool", "base_image_size": "10GB", "discard_blocks": True,
    }  # fmt: skip
    assert document["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["snapshotter"] == "devmapper"


def test_format_3_unpacks_for_both_snapshotters() -> None:
    document = tomllib.loads(settings.edited(None, want(3)))
    assert document["plugins"]["io.containerd.cri.v1.images"]["snapshotter"] == "devmapper"
    unpack = document["plugins"]["io.containerd.transfer.v1.local"]["unpack_config"]
    assert unpack == [{"platform": "linux/amd64", "snapshotter": s} for s in ("devmapper", "overlayfs")]


def test_an_instance_has_its_own_sockets() -> None:
    document = tomllib.loads(settings.edited(None, want(3, instance="two")))
    assert document["grpc"]["address"] == "/run/containerd-two/containerd.sock"
    assert document["plugins"][NRI] == {"socket_path": "/run/containerd-two/nri.sock"}
    assert NRI not in settings.edited(None, want(3)) + settings.edited(None, want(2, instance="two"))


@pytest.mark.parametrize("instance", ["", "two"])
@pytest.mark.parametrize(("now", "then"), [(now, then) for now in (1, 2, 3, 4) for then in (1, 2, 3, 4) if now != then])
def test_a_file_with_no_other_settings_than_ours_is_written_in_the_new_format(
    now: int, then: int, instance: str
) -> None:
    old = settings.edited(None, want(now, instance=instance, fs_options=ext4.ZEROED, pool="another"))
    assert settings.edited(old, want(then, instance=instance)) == settings.edited(None, want(then, instance=instance))
    for more in ("[debug]\nlevel = 'warn'\n", "[plugins.other]\nkey = 1\n"):
        with pytest.raises(Refused, match=f"is in format {now}, this containerd gets format {then}"):
            settings.edited(f"{old}{more}", want(then, instance=instance))


UNPACK = "plugins.'io.containerd.transfer.v1.local'.unpack_config"
STARGZ = {"platform": "linux/amd64", "snapshotter": "stargz"}
WALKING = {"platform": "linux/amd64", "snapshotter": "devmapper", "differ": "walking"}
OVERLAYFS = {"platform": "linux/amd64", "snapshotter": "overlayfs"}
DEVMAPPER = {"platform": "linux/amd64", "snapshotter": "devmapper"}


def unpacking(text: str | None) -> Any:
    """The value of unpack_config in a file."""
    return tomllib.loads(str(text))["plugins"]["io.containerd.transfer.v1.local"]["unpack_config"]


def listed(entries: list[dict[str, str]]) -> str:
    """A file with an operator's unpack_config, as tables of their own."""
    tables = [f"[[{UNPACK}]]\n" + "".join(f"{key} = '{value}'\n" for key, value in one.items()) for one in entries]
    return "version = 3\n" + "".join(tables) + "[debug]\nlevel = 'warn'\n"


@pytest.mark.parametrize(
    ("mine", "added"),
    [
        ([STARGZ, WALKING, OVERLAYFS], []),
        ([STARGZ], [DEVMAPPER, OVERLAYFS]),
        ([STARGZ, WALKING], [OVERLAYFS]),
        ([OVERLAYFS | {"platform": "linux/arm64"}], [DEVMAPPER, OVERLAYFS]),
    ],
)
def test_what_an_operator_lets_containerd_unpack_for_is_kept(
    mine: list[dict[str, str]], added: list[dict[str, str]]
) -> None:
    text = settings.edited(listed(mine), want(3))
    assert unpacking(text) == mine + added
    assert settings.edited(text, want(3)) == text
    inline = ", ".join("{" + ", ".join(f"{key} = '{value}'" for key, value in one.items()) + "}" for one in mine)
    assert unpacking(settings.edited(f"version = 3\n{UNPACK} = [{inline}] # mine\n", want(3))) == mine + added


def test_without_a_pool_nothing_unpacks_for_devmapper() -> None:
    cleared = settings.cleared(settings.edited(listed([STARGZ, WALKING, OVERLAYFS]), want(3)))
    assert unpacking(cleared) == [STARGZ, OVERLAYFS], "the default, overlayfs, does not apply beside other entries"
    assert "unpack_config" not in str(settings.cleared(settings.edited(listed([]), want(3))))


MINE = """# mine
version = 2
oom_score = -500  # never first

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.example/pause:3"  # ours

[plugins."io.containerd.snapshotter.v1.devmapper"]
  pool_name = "old"
  async_remove = true
"""


def test_every_other_key_and_comment_stays() -> None:
    text = settings.edited(MINE, want(2))
    for kept in ("# mine", "oom_score = -500  # never first", 'pause:3"  # ours', "async_remove = true"):
        assert kept in text
    document = tomllib.loads(text)
    assert document["plugins"][PLUGIN]["pool_name"] == "pool"
    assert document["plugins"]["io.containerd.grpc.v1.cri"]["sandbox_image"] == "registry.example/pause:3"


@pytest.mark.parametrize("format", [1, 2, 3])
@pytest.mark.parametrize("text", [None, ""])
def test_what_was_edited_once_needs_no_edit(format: int, text: str | None) -> None:
    once = settings.edited(text, want(format))
    assert settings.edited(once, want(format)) == once


def test_other_formats_and_broken_files_are_refused() -> None:
    with pytest.raises(Refused, match="format 2, this containerd gets format 3"):
        settings.edited(MINE, want(3))
    with pytest.raises(Refused, match="is not TOML"):
        settings.edited("version = = 2", want(2))


def test_a_daemon_with_other_settings_or_another_file_has_another_digest() -> None:
    assert want(2).digest("text") != want(2, base_image_size="20GB").digest("text")
    assert want(2).digest("text") != want(2).digest("other text")
    assert want(2).digest("text") == want(2).digest("text")


def test_file_systems_are_made_as_a_person_said_or_as_we_say() -> None:
    def options(text: str | None, ours: str) -> Any:
        return tomllib.loads(settings.edited(text, want(2, fs_options=ours)))["plugins"][PLUGIN].get("fs_options")

    ours = settings.edited(None, want(2, fs_options=ext4.ZEROED))
    assert options(None, ext4.ZEROED) == options(ours, ext4.ZEROED) == ext4.ZEROED
    assert options(ours, "") is None
    assert settings.edited(ours, want(2, fs_options=ext4.ZEROED)) == ours
    mine = f"version = 2\n[plugins.'{PLUGIN}']\nfs_options = 'nodiscard'\n"
    assert options(mine, ext4.ZEROED) == options(mine, "") == "nodiscard"
    assert "nodiscard" in str(settings.cleared(mine))
    default = f"version = 2\n[plugins.'{PLUGIN}']\nfs_options = ''\n"
    assert options(default, ext4.ZEROED) == ext4.ZEROED, "containerd config default prints it, and means its default"
    theirs = ours.partition("\n")[2] + "[debug]\nlevel = 'debug'\n"  # not ours as a whole
    assert "fs_options" not in str(settings.cleared(theirs))


HOST = Host(release="lab")


def host(mirror: str) -> Host:
    return msgspec.structs.replace(HOST, mirror=mirror)


KEY = "1.6.20-k"
PROGRAM = f"/opt/containerd/{KEY}/bin/containerd"


def configured(mirror: str) -> Facts:
    """A machine whose daemon runs with what the step wrote."""
    bare = with_versions("containerd", current=KEY)
    changes = config.step(host(mirror)).plan(bare)
    written = {change.path: change for change in changes if isinstance(change, File)}
    digest = re.search(r"_SETTINGS=(\w+)", written[HOST.daemon.drop_in_path].content)
    assert digest
    daemon = Containerd(
        active=True, enabled=True, exe=PROGRAM, current=PROGRAM, settings=digest[1],
        plugins=(Plugin("io.containerd.snapshotter.v1", "devmapper", "ok"),),
    )  # fmt: skip
    files = {path: FileFact(change.content, change.mode) for path, change in written.items()}
    return msgspec.structs.replace(bare, files=files, containerd=daemon)


def test_the_unit_limits_open_files_as_upstreams_does() -> None:
    old, new = (render("containerd/containerd.service.j2", command="x", instance="", format=n) for n in (2, 3))
    assert [line for line in old.splitlines() if line not in new.splitlines()] == ["LimitNOFILE=infinity"]
    assert "\nAfter=network.target local-fs.target dbus.service\n" in new


def test_a_daemon_that_was_started_with_its_settings_is_left_alone(mirror: str) -> None:
    assert config.step(host(mirror)).plan(configured(mirror)) == []


def test_what_another_version_makes_of_the_file_is_no_refusal(mirror: str) -> None:
    """A deploy of another release was interrupted after it had installed that."""
    dump = ConfigFacts(dump={"snapshotter": "overlayfs"})
    have = msgspec.structs.replace(configured(mirror), config=dump)
    config.step(host(mirror)).plan(have)
    key = built(host(mirror), "amd64").key
    have = msgspec.structs.replace(have, versions=with_versions("containerd", current=key).versions)
    with pytest.raises(Refused, match="would not run with the settings of its pool"):
        config.step(host(mirror)).plan(have)


def test_a_file_that_is_not_utf8_is_kept_as_it_is(mirror: str) -> None:
    have = configured(mirror)
    now = have.files[HOST.daemon.config_path]
    latin = FileFact(now.content + b"# J\xfcrgen\n".decode(errors="surrogateescape"), now.mode)
    changes = config.step(host(mirror)).plan(
        msgspec.structs.replace(have, files=have.files | {HOST.daemon.config_path: latin})
    )
    assert [change.why for change in changes if isinstance(change, Command)] == [
        "start containerd: its settings changed"
    ]
    assert HOST.daemon.config_path not in {change.path for change in changes if isinstance(change, File)}


def test_a_file_that_somebody_edited_is_loaded_if_it_can_be(mirror: str) -> None:
    have = configured(mirror)
    now = have.files[HOST.daemon.config_path]
    edited = FileFact(now.content + "# by hand\n", now.mode)
    have = msgspec.structs.replace(have, files=have.files | {HOST.daemon.config_path: edited})
    drop_in, restart = config.step(host(mirror)).plan(have)
    assert isinstance(drop_in, File) and drop_in.path == HOST.daemon.drop_in_path
    assert isinstance(restart, Command) and restart.why == "start containerd: its settings changed"
    assert restart.script.startswith(
        f"/usr/local/bin/containerd --config {HOST.daemon.config_path} config dump >/dev/null\n"
    )


def test_a_daemon_that_is_still_starting_is_not_interrupted(mirror: str) -> None:
    have = configured(mirror)
    starting = msgspec.structs.replace(have.containerd, active=False, changing="activating (start)")
    with pytest.raises(Refused, match=r"containerd.service is still activating \(start\)"):
        config.step(host(mirror)).plan(msgspec.structs.replace(have, containerd=starting))


DROP_IN = KillLine("/etc/systemd/system/containerd.service.d/override.conf", 2, "mixed")
KILLING: dict[str, Any] = {
    "kill_mode": "mixed",
    "kill_line": DROP_IN,
    "containers": ("container one runs, in the namespace default",),
}


@pytest.mark.parametrize("change", [{}, {"stale": True, "kill_mode": "process"}])
def test_a_restart_that_would_kill_containers_is_refused(mirror: str, change: dict[str, Any]) -> None:
    have = configured(mirror)
    daemon = msgspec.structs.replace(have.containerd, settings="other", **{**KILLING, **change})
    with pytest.raises(Refused, match=r"a stop of containerd.service would kill its containers") as caught:
        config.step(host(mirror)).plan(msgspec.structs.replace(have, containerd=daemon))
    assert f"{DROP_IN.path}:2: KillMode=mixed" in caught.value.details
    assert KILLING["containers"][0] in caught.value.details
    assert DROP_IN.path in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [{"containers": ()}, {"kill_line": None}, {"kill_line": KillLine(DROP_IN.path, 2, "process")}, {"active": False}],
)
def test_a_restart_that_kills_nothing_is_made(mirror: str, change: dict[str, Any]) -> None:
    have = configured(mirror)
    daemon = msgspec.structs.replace(have.containerd, settings="other", **{**KILLING, **change})
    (restart,) = config.step(host(mirror)).plan(msgspec.structs.replace(have, containerd=daemon))
    assert restart.why.startswith("start containerd: ")


def test_a_start_that_systemd_skips_is_a_failure(mirror: str) -> None:
    have = configured(mirror)
    stopped = msgspec.structs.replace(have.containerd, active=False)
    (start,) = config.step(host(mirror)).plan(msgspec.structs.replace(have, containerd=stopped))
    assert isinstance(start, Command)
    skipped = start.script.index("systemctl show -p ConditionResult")
    assert start.script.index("systemctl restart") < skipped < start.script.index("plugins ls")


DOCKER = '#   Copyright 2018-2022 Docker Inc.\n\ndisabled_plugins = ["cri"]\n\n#root = "/var/lib/containerd"\n'


@pytest.mark.parametrize("text", [DOCKER, "# nothing\n", "version = 3\n", ""])
@pytest.mark.parametrize("format", [1, 2, 3])
def test_a_file_without_settings_is_replaced(text: str, format: int) -> None:
    assert settings.edited(text, want(format)) == settings.edited(None, want(format))


def test_keys_with_the_same_meaning_in_every_format_are_kept() -> None:
    text = settings.edited("# mine\noom_score = -5\n[debug]\nlevel = 'warn'\n", want(3))
    document = tomllib.loads(text)
    assert document["version"] == 3 and document["oom_score"] == -5 and document["debug"] == {"level": "warn"}
    assert text.startswith("# mine\n")


def test_a_file_in_another_format_is_moved_away_by_the_command_of_the_hint() -> None:
    with pytest.raises(Refused) as caught:
        settings.edited("oom_score = -5\n[plugins.cri]\nsandbox_image = 'x'\n", want(2))
    assert caught.value.hint.startswith(
        "mv /etc/containerd/config.toml /etc/containerd/config.toml.old; then inv deploy; "
    )
    assert settings.other_format("[plugins.cri]\n", 2) and not settings.other_format(DOCKER, 2)


def test_a_file_of_the_host_is_not_moved_on_the_controller() -> None:
    with pytest.raises(Refused) as caught, hints.entered(Host(name="a")):
        settings.edited("[plugins.cri]\nsandbox_image = 'x'\n", want(2))
    assert caught.value.hint.startswith("on the host: mv /etc/containerd/config.toml ")
    assert typed.wrong(caught.value.hint) == []
    unmarked = caught.value.hint.removeprefix("on the host: ")
    assert "on which computer?" in typed.wrong(unmarked)[0]


def test_a_copy_of_a_file_without_settings_is_kept_apart(mirror: str) -> None:
    bare = with_versions("containerd", current=KEY)
    have = msgspec.structs.replace(bare, files={HOST.daemon.config_path: FileFact(DOCKER, 0o644)})
    plan = config.step(host(mirror)).plan(have)
    (toml,) = (change for change in plan if isinstance(change, File) and change.path == HOST.daemon.config_path)
    assert toml.backup == f"{HOST.daemon.config_path}.orig"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"loaded": "0123456789abcdef"}, "it was started with other files than there are now"),
        ({"command": "/usr/local/bin/containerd --config /x"}, "it runs with --config /x"),
    ],
)
def test_a_daemon_with_other_settings_is_restarted(mirror: str, change: dict[str, str], why: str) -> None:
    have = configured(mirror)
    have = msgspec.structs.replace(have, containerd=msgspec.structs.replace(have.containerd, **change))
    (restart,) = config.step(host(mirror)).plan(have)
    assert restart.why == f"start containerd: {why}"
