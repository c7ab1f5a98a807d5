"""What else than config.toml determines what a containerd uses, in every format, from realistic files."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts import config as facts
from fabfile.facts.config import Config
from fabfile.facts.files import FileFact
from fabfile.instance import Daemon
from fabfile.steps import overrides, settings
from tests.unit.steps.conftest import having

PATH, OTHER = "/etc/containerd/config.toml", "/etc/containerd/conf.d/x.toml"
TABLE = "[plugins.'io.containerd.snapshotter.v1.devmapper']"
PREFACE = f"version = {{}}\nimports = ['{OTHER}']\n"


def wanted(format: int = 2, **changes: Any) -> overrides.Requirements:
    values: dict[str, Any] = {
        "daemon": Daemon(), "format": format, "pool": "pool", "root": "/srv/pool", "base_image_size": "10GB",
        "arch": "amd64",
    }  # fmt: skip
    return overrides.Requirements(**(values | changes))


def text(format: int) -> str:
    """Our config.toml, with an import of somebody else's."""
    ours = settings.ContainerdSettings(format, "pool", "/srv/pool", "10GB", "/usr/local/bin", "amd64")
    return settings.edited(PREFACE.format(format) if format > 1 else f"imports = ['{OTHER}']\n", ours)


def have(format: int, other: str, **changes: Any) -> Facts:
    """A machine with both files."""
    sources = (facts.source(PATH, text(format)), facts.source(OTHER, other))
    config = msgspec.structs.replace(Config(sources), **changes)
    return having(config=config, files={PATH: FileFact(text(format), 0o644)})


def found(format: int, other: str, **changes: Any) -> list[str]:
    return [one.found for one in overrides.find_overrides(have(format, other, **changes), wanted(format), text(format))]


@pytest.mark.parametrize("format", [1, 2, 3])
def test_harmless_files_have_no_findings(format: int) -> None:
    assert found(format, "oom_score = -5\n[debug]\nlevel = 'warn'\n") == []
    assert found(format, "disabled_plugins = ['io.containerd.snapshotter.v1.zfs', 'btrfs']\n") == []


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (f"{TABLE}\npool_name = 'other'\nroot_path = '/srv/pool/'\nbase_image_size = '10GB'", ":2: pool_name is other"),
        ("plugins.devmapper = {pool_name = 'other', root_path = '/srv/pool', base_image_size = '10GB'}",
         ":1: pool_name is other"),
        ("\n\nroot = '/data'", ":3: root is /data, it must be /var/lib/containerd"),
        ("state = '/x'", ":1: state is /x"),
        ("[grpc]\n# here\naddress = '/x'", ":3: address is /x"),
        ("[plugins.'io.containerd.server.v1.grpc']\naddress = '/x'", ":2: address is /x"),
        ("[plugins.cri.containerd]\nsnapshotter = 'overlayfs'", ":2: snapshotter is overlayfs"),
        ("[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'overlayfs'", ":2: snapshotter is overlayfs"),
        ("disabled_plugins = ['cri']", ":1: disabled_plugins has cri, which is required"),
        ("disabled_plugins = [\n'io.containerd.snapshotter.v1.devmapper',\n]", ":2: disabled_plugins has io"),
        ("disabled_plugins = ['io.containerd.metadata.v1.bolt']", ":1: disabled_plugins has io.containerd.metadata"),
        ("version = = 2", ": it is not TOML"),
    ],
)  # fmt: skip
def test_overrides_are_named_with_file_and_line(other: str, says: str) -> None:
    lines = found(3, other)
    assert len(lines) == 1 and lines[0].startswith(f"{OTHER}{says}"), lines


@pytest.mark.parametrize(
    "name",
    [
        "runtime.v1.linux", "image-verifier.v1.bindir", "warning.v1.deprecations", "mount-manager.v1.bolt",
        "sandbox.store.v1.local", "podsandbox.controller.v1.podsandbox", "streaming.v1.manager", "grpc.v1.streaming",
    ],
)  # fmt: skip
def test_what_others_need_to_load_is_required(name: str) -> None:
    (line,) = found(3, f"disabled_plugins = ['io.containerd.{name}']\n")
    assert f"disabled_plugins has io.containerd.{name}, which is required" in line


@pytest.mark.parametrize(
    "name", ["internal.v1.opt", "internal.v1.tracing", "nri.v1.nri", "monitor.container.v1.restart"]
)
def test_what_nothing_needs_may_be_disabled(name: str) -> None:
    assert found(3, f"disabled_plugins = ['io.containerd.{name}']\n") == []


def test_before_2_0_a_table_replaces_the_one_before() -> None:
    other = f"# async\n{TABLE}\nasync_remove = true\n"
    assert f"{OTHER}:2: its table lacks pool_name, it must be pool" in found(2, other)
    assert found(3, other) == []


def test_unpacking_has_to_know_both_snapshotters() -> None:
    table = "[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\n"
    assert found(3, f"{table}platform = 'linux/amd64'\nsnapshotter = 'overlayfs'\n") == []
    dump = {"unpack_config": "linux/amd64 overlayfs"}
    (line,) = found(3, "", dump=dump)
    assert "unpack_config is linux/amd64 overlayfs, it must be for devmapper and overlayfs" in line
    assert found(3, "", dump={"unpack_config": "linux/amd64 overlayfs\nlinux/amd64 devmapper"}) == []
    assert found(2, "", dump=dump) == [], "containerd 1.7 has it, and does not use it"


def test_an_instance_must_not_take_the_socket_of_nri() -> None:
    dump = facts.values({"plugins": {"io.containerd.nri.v1.nri": {"socket_path": "/var/run/nri/nri.sock"}}})
    two = wanted(3, daemon=Daemon("two"))
    ours = settings.edited(
        None, settings.ContainerdSettings(3, "pool", "/srv/pool", "10GB", "/usr/local/bin", "amd64", "two")
    )
    config = Config((facts.source(two.daemon.config_path, ours),), dump=dump)
    (one,) = overrides.find_overrides(
        having(config=config, files={two.daemon.config_path: FileFact(ours, 0o644)}), two, ours
    )
    assert "socket_path is /var/run/nri/nri.sock, it must be /run/containerd-two/nri.sock" in one.found
    assert found(3, "", dump=dump) == [], "the default containerd's is where everybody looks for it"


def test_imports_that_our_own_edit_leaves_out_do_not_count() -> None:
    there = have(2, "root = '/data'")
    fresh = settings.edited(
        None, settings.ContainerdSettings(2, "pool", "/srv/pool", "10GB", "/usr/local/bin", "amd64")
    )
    assert overrides.find_overrides(there, wanted(2), fresh) == []


def test_what_only_the_dump_shows_counts() -> None:
    dump = {"pool_name": "other", "root": "/var/lib/containerd"}
    assert found(2, "", dump=dump) == ["containerd config dump: pool_name is other, it must be pool"]
    assert found(2, "", problem="containerd: it failed") == [f"containerd does not load {PATH}: containerd: it failed"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("/usr/local/bin/containerd --config /x", "--config /x"),
        ("/usr/local/bin/containerd -l debug -c=/x", "--config /x"),
        ("-/usr/local/bin/containerd --root=/x --state /y", "--root /x, --state /y"),
        ("/usr/bin/containerd", "/usr/bin/containerd"),
        ("/usr/local/bin/containerd 'x", "'x"),
    ],
)
def test_another_command_line_is_named(command: str, says: str) -> None:
    (line,) = found(2, "", commands={"/etc/systemd/system/containerd.service.d/9.conf": command})
    assert "9.conf: ExecStart has " in line and says in line


def test_options_that_change_nothing_are_accepted() -> None:
    command = f"/usr/local/bin/containerd --log-level debug --config {PATH}"
    assert found(2, "", commands={"/x.conf": command}) == []


def test_an_instance_needs_its_own_file_on_its_command_line() -> None:
    two = Daemon("two")
    assert overrides.strays("/usr/local/bin/containerd", two) == ["no --config /etc/containerd/two.toml"]
    assert overrides.strays(two.command, two) == []


def test_the_refusal_says_which_files_to_change() -> None:
    with pytest.raises(Refused, match=f"hint: change {OTHER}, then inv deploy"):
        overrides.refuse(have(2, "root = '/data'"), wanted(2), text(2))
