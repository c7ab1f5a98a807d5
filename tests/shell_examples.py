"""Every shell template, rendered with example values, so that lint can run shellcheck on it."""

from __future__ import annotations

from collections.abc import Mapping

from fabfile import facts
from fabfile.apply import apply_script
from fabfile.facts.query import Query
from fabfile.facts.record import LoopRecord, LvmRecord
from fabfile.host import Host
from fabfile.instance import Daemon
from fabfile.plan import Change, Command, File
from fabfile.pool import units
from fabfile.pool.maintain import adopt
from fabfile.pool.maintain.actions import ManagedPool
from fabfile.pool.remove import RECORDS, Removal, idle
from fabfile.pool.safety import gate
from fabfile.remote import lock
from fabfile.render import render
from fabfile.steps import smoke, toolchain


def shell_examples() -> dict[str, str]:
    """Map the name of each example to its script."""
    changes: list[Change] = [
        Command("a command", "true"),
        File("a file", "/etc/example", "content\n", validate='test -s "$1"', backup="/etc/example.bak"),
    ]
    build = {"tags": "no_btrfs", "version": "v1", "commit": "0" * 40, "programs": ["bin/containerd", "bin/ctr"]}
    return {
        "facts": facts.script(Query(files=("/etc/example", "/etc/another"), volume="vg/lv", image="r/i:t", prove=True)),
        "elsewhere": f"name=pool{adopt.ELSEWHERE}",
        "apt": render("packages/apt.sh.j2", wait=120, note="note: ") + "apt update\n",
        "prove": facts.script(Query(only=("proof",), prove=True)),
        "apply": apply_script(changes, {}, "0", "pool.loop", wait=600),
        "wait-lock": lock.waiting(600),
        "devmapper-pool": units.script(),
        "containers": render("containerd/containers.sh.j2", daemon=Daemon("two")),
        "containerd-remove": render("containerd/containers.sh.j2", daemon=Daemon("two"))
        + render("containerd/remove.sh.j2", daemon=Daemon("two"), force=False),
        "build-gopath": render("containerd/build.sh.j2", mode="gopath", static=False, **build),
        "build-module": render("containerd/build.sh.j2", mode="module", static=True, **build),
        "smoke": smoke.script(Host(registry="http://localhost:5000")),
        "record": smoke.recording(Host(registry="http://localhost:5000", instance="two")) + "record\n",
        "profile": toolchain.PROFILE_TEXT,
        "next-size": render("pool/next-size.sh.j2"),
        "free-ranges": render("pool/free-ranges.sh.j2"),
        "suspended": render("pool/suspended.sh.j2") + "find_suspended\n",
        "inspect": facts.disks.fragment(Query(all_disks=True)),
        "gate": gate.functions(),
        "lab-setup": render("lab/setup.sh.j2"),
        **_actions(),
        "lab-mirror-gopath": render("lab/mirror/gopath.sh.j2"),
        "lab-mirror-module": render("lab/mirror/module.sh.j2"),
    }


def _actions() -> dict[str, str]:
    """One-time actions on a pool, for both variants."""
    daemon = Daemon("two")
    files = LoopRecord(
        data="/a pool/data", meta="/a pool/meta", block_sectors=128, volume="vg/lv", volume_made=("volume",),
        volume_uuid="v-1", asked_bytes=(1,), asked_meta_bytes=(2097152,),
    )  # fmt: skip
    loop = ManagedPool("pool", daemon, files, "/a pool")
    direct = ManagedPool("vg-a--pool", daemon, LvmRecord(vg="vg", lv="a-pool", chunk_bytes=65536), "/root")
    scripts = {
        name: ("name=pool\n" if name == "devices" else "") + render(f"pool/{name}.sh.j2", pool=loop, daemon=daemon)
        for name in ("common", "devices", "gate")
    }
    scripts["held"] = scripts["common"] + render("pool/held.sh.j2", pool=loop, daemon=daemon)
    thins = {"group_uuid": "g-1", "pool_uuid": "p-1", "thins": ["a b=u-1"]}
    scripts["relabel"] = scripts["common"] + render("pool/relabel.sh.j2", pool=direct, **thins)
    scripts |= _rescues(loop, daemon)
    for kind, pool in (("loop", loop), ("direct", direct)):
        both = {**_removal(pool, daemon), **_maintenance(pool, daemon)}
        scripts |= {f"{name}-{kind}": script for name, script in both.items()}
    return scripts


def _removal(pool: ManagedPool, daemon: Daemon) -> dict[str, str]:
    scripts: dict[str, str] = {}
    for force in (False, True):
        going = Removal(pool.name, daemon, pool.record, pool.root, force=force)
        scripts |= {
            f"idle-{force}": idle(going) + "idle\n",
            f"down-{force}": idle(going) + render("pool/down.sh.j2", pool=going, daemon=daemon),
            f"state-{force}": render("pool/state.sh.j2", pool=going, records=RECORDS),
        }
    return scripts


def _maintenance(pool: ManagedPool, daemon: Daemon) -> dict[str, str]:
    values = {"pool": pool, "daemon": daemon}
    common = render("pool/common.sh.j2", pool=pool)
    return {
        "check": pool.render("check"),
        "backup": pool.render("backup", keep=8),
        "thins": render("pool/thins.sh.j2", **values),
        "holders": render("pool/holders.sh.j2", devices=["a-snap-1", "b snap"], **values),
        "stop": common + render("pool/stop.sh.j2", force=False, **values),
        "stop-force": common + render("pool/stop.sh.j2", force=True, **values),
        "blockers": _blockers(common, values),
        "database": render("pool/database.sh.j2", **values),
        "repair": pool.render("repair"),
        "copies": render("pool/copies.sh.j2", keep=8, **values),
        "unfinished": render("pool/unfinished.sh.j2", source="/a backup.gz", **values),
        "restore": common + pool.render("restore", source=""),
        "restore-from": common + pool.render("restore", source="/a backup.gz"),
        "swap": pool.render("swap", candidate="/dev/vg/new", source=""),
        "swap-restored": pool.render("swap", candidate="/dev/vg/new", source="/a backup.gz"),
        "drop": pool.render("drop", candidate="/dev/vg/new", identity="7:1:12"),
        "kept": pool.render("kept", keep=2),
        "kept-list": pool.render("kept", keep=None),
        "fsck": render("pool/fsck.sh.j2", **values),
        "install": render("pool/install.sh.j2", path="/a pool/pool.db", **values),
        "forget": render("pool/forget.sh.j2", **values),
        "trim": pool.render("trim"),
        "trim-offline": pool.render("trim-offline"),
        "start": common + render("pool/start.sh.j2", whole=True, **values),
        "start-pool": common + render("pool/start.sh.j2", whole=False, **values),
    }


def _rescues(loop: ManagedPool, daemon: Daemon) -> dict[str, str]:
    """Recovery of deleted backing files."""
    common = render("pool/common.sh.j2", pool=loop)
    scripts = {
        "rescued": common + render("pool/rescued.sh.j2", daemon=daemon, monitor="devmapper-pool-monitor@a.service")
    }
    for force in (False, True):
        scripts[f"rescue-{force}"] = common + render("pool/rescue.sh.j2", pool=loop, daemon=daemon, force=force)
    return scripts


def _blockers(common: str, values: Mapping[str, object]) -> str:
    return "".join(
        [
            common,
            render("pool/held.sh.j2", **values),
            render("containerd/containers.sh.j2", **values),
            render("pool/blockers.sh.j2", force=False, **values),
            "blockers\n",
        ]
    )
