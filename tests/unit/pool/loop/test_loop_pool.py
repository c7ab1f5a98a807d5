"""A loop pool is created once, left alone, and changed only where that is possible."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile import keyvalue
from fabfile.errors import Refused
from fabfile.facts.pool import Place, Pool, Table
from fabfile.facts.under import BackingVolume
from fabfile.plan import Command, File
from fabfile.pool import units
from fabfile.pool.loop import files, identity, loop_pool
from fabfile.pool.loop.volume import VolumeSpec as VolumeAsked
from fabfile.sizes import GIB, MIB
from tests.unit import typed
from tests.unit.pool.loops import NAME, ROOM, machine, pool, want
from tests.unit.steps.conftest import having


def test_a_new_pool_gets_its_metadata_first_which_is_not_sparse() -> None:
    changes = loop_pool.plan(having(pool=Pool(place=ROOM)), want(), None)
    assert {change.path for change in changes if isinstance(change, File)} == set(units.paths(NAME))
    meta, data, known, activate = (change for change in changes if isinstance(change, Command))
    assert f"fallocate -l {75 * MIB} /srv/pool/meta.new" in meta.script
    assert f"truncate -s {100 * GIB} /srv/pool/data.new" in data.script
    assert "record /etc/devmapper-pool/pool.conf MAKING no" in known.script
    assert "enable devmapper-pool@pool.service devmapper-pool-monitor@pool.timer" in activate.script


def test_a_file_system_with_less_room_is_said_to_be_overcommitted() -> None:
    small = having(pool=Pool(place=Place("ext4", "/srv", GIB)))
    assert any("OVERCOMMITTED: /srv has 1.0G free" in change.why for change in loop_pool.plan(small, want(), None))


def test_data_larger_than_a_file_may_be_is_refused() -> None:
    """The host refused it half-way."""
    for type, size in (("ext4", "15T"), ("xfs", "17T")):
        assert loop_pool.plan(having(pool=Pool(place=Place(type, "/srv", GIB))), want(size=size), None)
    for under in (None, VolumeAsked("vg", "lv", 20 << 40, "/srv/pool")):
        have = having(pool=Pool(place=Place("ext4", "/srv", GIB), volume=BackingVolume(group_free=20 << 40)))
        with pytest.raises(Refused, match="16T of data do not fit into a file on ext4"):
            loop_pool.plan(have, want(size="16T"), under)


def test_a_directory_is_made_only_in_containerd_s_own_and_under_a_volume() -> None:
    lacks = having(pool=Pool(place=ROOM, missing=1, volume=BackingVolume(group_free=20 * GIB)))
    with pytest.raises(Refused, match="no directory /srv/pool") as refused:
        loop_pool.plan(lacks, want(), None)
    assert refused.value.hint == "if it is right: mkdir -p /srv/pool"
    under = VolumeAsked("vg", "lv", 15 * GIB, "/srv/pool")
    assert loop_pool.plan(lacks, want(), under)
    deep = msgspec.structs.replace(lacks, pool=msgspec.structs.replace(lacks.pool, missing=2))
    with pytest.raises(Refused, match="no directory /srv/pool"):
        loop_pool.plan(deep, want(), under)
    assert loop_pool.plan(deep, want(dir="/var/lib/containerd/devmapper"), None)
    with pytest.raises(Refused, match="no directory"):
        loop_pool.plan(deep, want(dir="/var/lib/containerd/devmapper", instance="two"), None)


def test_the_requested_pool_is_left_alone() -> None:
    assert loop_pool.plan(machine(), want(), None) == []


def test_a_pool_that_grew_by_itself_is_still_what_was_asked_for() -> None:
    assert loop_pool.plan(machine(pool(120 * GIB, 90 * MIB)), want(), None) == []


def test_a_pool_that_has_what_the_formula_gave_before_it_counted_devices_is_left_alone() -> None:
    table = Table("thin-pool", 100 * GIB // 512, "7:0", "7:1", 1024, 32768)
    before = machine(pool(meta=10 * MIB, table=table), block_size="512K", meta_size="10M")
    assert want(block_size="512K").meta == 11 * MIB
    assert not [change for change in loop_pool.plan(before, want(block_size="512K"), None) if isinstance(change, File)]
    with pytest.raises(Refused, match="metadata: it has 10M, requested: 12M"):
        loop_pool.plan(before, want(block_size="512K", meta_size="12M"), None)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"size": "200G"}, ["size: it has 100G, requested: 200G", "metadata: it has 75M, requested: 150M"]),
        ({"size": "50G", "meta_size": "75M"}, ["size: it has 100G, requested: 50G"]),
        ({"meta_size": "1G"}, ["metadata: it has 75M, requested: 1G"]),
        ({"block_size": "128K", "meta_size": "75M"}, ["block_size: it has 64K, requested: 128K"]),
        ({"volume": "vg/other"}, ["volume: it has vg/lv, requested: vg/other"]),
        ({"dir": "/srv/other"}, ["data: it has /srv/pool/data, requested: /srv/other/data"]),
    ],
)
def test_other_parameters_are_refused_with_both_values(changes: dict[str, Any], found: list[str]) -> None:
    with pytest.raises(Refused, match="exists with") as refused:
        loop_pool.plan(machine(None, **({"volume": "vg/lv"} if "volume" in changes else {})), want(**changes), None)
    for line in found:
        assert line in refused.value.details


def test_another_size_is_refused_with_the_command_that_gives_it() -> None:
    with pytest.raises(Refused) as refused:
        loop_pool.plan(machine(), want(size="200G"), None)
    assert refused.value.hint.endswith("; to make it larger: inv pool.grow --name pool --size 200G --meta-size 150M")


@pytest.mark.parametrize("less", [{"size": "50G"}, {"size": "50G", "meta_size": "1G"}, {"meta_size": "4M"}])
def test_a_smaller_size_is_refused_with_what_is_there(less: dict[str, str]) -> None:
    """F24: no hint suggests pool.grow with less than the current size."""
    with pytest.raises(Refused, match="exists with another size") as refused:
        loop_pool.plan(machine(), want(**less), None)
    assert "pool.grow" not in refused.value.hint
    assert "to keep it: inv pool.loop --name pool" in refused.value.hint
    assert typed.wrong(refused.value.hint) == []


@pytest.mark.parametrize("growing", [pool(120 * GIB, table=pool().table), pool(meta=90 * MIB, status=pool().status)])
def test_an_interrupted_growth_is_finished(growing: Pool) -> None:
    (change,) = loop_pool.plan(machine(growing), want(), None)
    assert isinstance(change, Command)
    assert change.script == "/usr/local/libexec/devmapper-pool settle pool"


def test_when_full_and_autoextend_change_in_the_settings_and_in_the_kernel() -> None:
    changes = loop_pool.plan(machine(), want(when_full="error", threshold=70, max_size="1T"), None)
    assert [change.why for change in changes] == [
        "settings of the pool pool",
        "writes to a full pool get an error at once",
    ]
    assert isinstance(changes[0], File)
    settings = keyvalue.settings(changes[0].content)
    assert (settings["WHEN_FULL"], settings["THRESHOLD"], settings["MAX_BYTES"]) == ("error", "70", str(1 << 40))
    assert settings["ASKED_BYTES"] == str(100 * GIB)


def test_a_pool_that_was_taken_away_comes_back_with_what_lets_it_grow() -> None:
    (change,) = loop_pool.plan(machine(pool(table=None, monitor=False)), want(), None)
    assert isinstance(change, Command)
    unit, timer = units.unit(NAME), units.monitor(NAME)
    # The restart waits only for the pool; the timer is started after it.
    assert f"systemctl restart {unit} && systemctl start {unit} {timer}; }} ||" in change.script
    assert "echo 'hint: inv pool.check --name pool; then follow its advice'; exit 1; }" in change.script


def test_a_unit_that_is_still_starting_is_not_interrupted() -> None:
    with pytest.raises(Refused, match="is still activating") as refused:
        loop_pool.plan(machine(pool(table=None, active=False, changing="activating (start)")), want(), None)
    assert f"systemctl status {units.unit(NAME)}" in refused.value.hint


def test_the_files_are_synced_metadata_before_data() -> None:
    changes = loop_pool.plan(having(pool=Pool(place=ROOM)), want(), None)
    meta, data, *_ = (change.script.splitlines() for change in changes if isinstance(change, Command))
    for lines, name in ((meta, "meta"), (data, "data")):
        assert f"begin_file /etc/devmapper-pool/pool.conf /srv/pool/{name}.new" in lines
        assert lines[-3:] == [
            f"sync /srv/pool/{name}.new",
            f"mv /srv/pool/{name}.new /srv/pool/{name}",
            "sync /srv/pool /srv/pool/..",
        ]


@pytest.mark.parametrize("lacks", ["active", "enabled", "monitor"])
def test_units_that_do_not_run_are_started(lacks: str) -> None:
    (change,) = loop_pool.plan(machine(pool(**{lacks: False})), want(), None)
    assert change.why == "the pool's units, now and at every boot"


@pytest.mark.parametrize("path", [units.unit_path(NAME), *units.monitor_paths(NAME)])
def test_systemd_reads_a_unit_that_an_earlier_version_wrote_differently(path: str) -> None:
    have = machine()
    earlier = msgspec.structs.replace(have.files[path], content=f"{have.files[path].content}# earlier\n")
    have = msgspec.structs.replace(have, files=have.files | {path: earlier})
    written, reload = loop_pool.plan(have, want(), None)
    assert isinstance(written, File) and written.path == path
    assert isinstance(reload, Command) and reload.script == "systemctl daemon-reload"


def test_the_settings_of_version_0_1_are_read_and_renewed() -> None:
    have = machine()
    conf = units.conf(NAME)
    old = (
        "".join(
            line + "\n"
            for line in have.files[conf].content.splitlines()
            if line.startswith(("DATA=", "META=", "BLOCK_SECTORS="))
        )
        + f"DATA_SECTORS={100 * GIB // 512}\nMETA_BYTES={75 * MIB}\n"
    )
    now = msgspec.structs.replace(have.files[conf], content=old)
    have = msgspec.structs.replace(have, files=have.files | {conf: now})
    change, known = loop_pool.plan(have, want(), None)
    assert isinstance(change, File)
    assert change.content == "".join(
        f"{line}\n"
        for line in machine().files[conf].content.splitlines()
        if not line.startswith((*identity.KEYS, "DIR_MADE", "# Whether their directory"))
    )
    assert known.why == "record which files are the pool's"


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (pool(table=Table("linear", 8)), "target: it has linear"),
        (pool(table=Table("thin-pool", 8, "7:0", "7:1", 256, 1)), "sectors a block: it has 256"),
        (pool(table=Table("thin-pool", 8, "7:8", "7:1", 128, 1)), "metadata device: it has 7:8, the pool's are 7:0"),
    ],
)
def test_an_active_device_that_is_not_the_one_made_here_is_refused(now: Pool, what: str) -> None:
    with pytest.raises(Refused) as refused:
        loop_pool.plan(machine(now), want(), None)
    assert what in refused.value.details


@pytest.mark.parametrize(
    ("dir", "mount", "volume", "needed"),
    [
        ("/srv/pool", "/", "", "/srv/pool"),
        ("/srv/pool", "/srv", "", "/srv/pool"),
        ("/srv/pool", "/srv/pool", "", "/srv/pool"),
        ("/srv/pool", "/data", "", "/srv/pool /data"),
        ("/srv/pool", "/srv/po", "", "/srv/pool /srv/po"),
        ("/srv/pool", r"/my\x20data/100%", "", '/srv/pool "/my data/100%%"'),
        ("/srv/pool", "/data", "vg/lv", "/srv/pool"),
    ],
)
def test_the_unit_waits_for_the_mount_that_a_link_leads_to(dir: str, mount: str, volume: str, needed: str) -> None:
    """systemd follows no links: after a boot, the pool's files were said to be missing."""
    have = having(pool=Pool(place=Place("ext4", mount, 500 * GIB)))
    changes = files.changes(have, want(dir=dir, volume=volume))
    written = {change.path: change.content for change in changes if isinstance(change, File)}
    assert f"\nRequiresMountsFor={needed}\n\n[Service]\n" in written[units.unit_path(NAME)]
