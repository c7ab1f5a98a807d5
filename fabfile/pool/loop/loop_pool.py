"""Create a thin pool on two loop devices, for data and metadata, on sparse files."""

from __future__ import annotations

from typing import Any

import msgspec

from fabfile import hints, inventory, sizes, systemd
from fabfile.converge import converge
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts import pool as facts
from fabfile.facts.pool import Backing
from fabfile.facts.query import POOL, about
from fabfile.facts.record import LoopRecord, Record, differences, variant
from fabfile.host import Host
from fabfile.instance import Daemon
from fabfile.output.outcome import Outcome
from fabfile.plan import Change, Command, Step
from fabfile.pool import limits, ownership, units
from fabfile.pool.health import missing, rerun, stated, usable, writable
from fabfile.pool.limits import refuse_machine
from fabfile.pool.loop import files, fstab, identity, spec
from fabfile.pool.loop.filesystem import overcommitted, refuse_large, refuse_missing, refuse_unfit
from fabfile.pool.loop.spec import LoopSpec, has_meta
from fabfile.pool.loop.volume import VolumeSpec, volume
from fabfile.pool.loop.volume import changes as volume_changes
from fabfile.pool.lvm import volume_group
from fabfile.pool.safety import gate
from fabfile.remote.context import Context
from fabfile.shell import words


def step(host: Host) -> Step:
    """The step that creates the loop pool of a host's settings.

    Raises:
        Refused: a size, percentage, name, directory or volume is not valid.
    """
    settings = host.pool
    want = spec.wanted(
        name=settings.name,
        dir=settings.dir,
        volume=settings.volume,
        size=settings.size,
        meta_size=settings.meta_size,
        block_size=settings.block_size,
        instance=host.instance,
        threshold=settings.threshold,
        percent=settings.percent,
        max_size=settings.max_size,
        when_full=settings.when_full,
    )
    under = volume(settings.volume, settings.volume_size, want.dir)
    query = about(
        host,
        only=POOL,
        files=(*units.paths(want.name), fstab.PATH),
        volume=f"{under.group}/{under.name}" if under else "",
        devices=(under.path,) if under else (),
    )
    return Step("pool.loop", lambda have: plan(have, want, under), query)


def plan(have: Facts, want: LoopSpec, under: VolumeSpec | None) -> list[Change]:
    """Plan the creation.

    Args:
        have: facts of the machine.
        want: the requested pool.
        under: the volume that its files are to be on, if one was requested.

    Raises:
        Refused: the machine cannot have this pool, or something else is in its place.
    """
    refuse_machine(have)
    volume_group.refuse_unasked(have.pool.volume)
    systemd.refuse_changing(units.unit(want.name), have.pool.changing)
    ownership.refuse_foreign(have, Daemon(want.instance), want.name, want.dir)
    ownership.refuse_move(have, Daemon(want.instance), want.name, want.dir)
    recorded = _refuse_other(have, want, units.recorded(have, want.name))
    missing.refuse(have, want.name)
    writable.refuse(have, want.name)
    conf = units.conf(want.name)
    mount = volume_changes(have, under, want.name, conf, recorded) if under else []
    if not mount:
        refuse_unfit(have, want)
    refuse_missing(have, want, made=1 if mount else 0)
    refuse_large("ext4" if mount or have.pool.place is None else have.pool.place.type, want.data)
    written = files.changes(have, want)
    on = want.volume or (recorded.volume if recorded else "")
    known = identity.changes(have, recorded, conf, want.dir, on)
    # The record comes first, as it makes ours what is created next; identities are recorded before anything is used.
    return [*written, *mount, *_backing(have, want), *known, *_active(have, want, written)]


def _refuse_other(have: Facts, want: LoopSpec, there: Record | None) -> LoopRecord | None:
    """Return the record of the requested pool; None if nothing is in its place."""
    table = have.pool.table
    if there is None:
        if table:
            raise Refused(
                f"a device {want.name} exists and was not made by this tool",
                f"target {table.target}, {sizes.human(table.sectors * 512)}, on {table.data} {table.meta}",
                hint="choose another --name",
            )
        for path, file in ((want.data_file, have.pool.data), (want.meta_file, have.pool.meta)):
            if file:
                raise Refused(
                    f"{path} exists and was not made by this tool",
                    f"{sizes.human(file.size)}, {sizes.human(file.allocated)} of it in use; it is never overwritten",
                    hint="choose another --dir, or move it away",
                )
        ownership.refuse_stale(have, Daemon(want.instance), want.name)
        return None
    differ = _differences(there, want)
    if differ or not isinstance(there, LoopRecord):
        raise rerun.differs(want.name, want.instance, there, differ, another="--name")
    _refuse_other_size(have, want, there)
    return there


def _differences(there: Record, want: LoopSpec) -> list[str]:
    if not isinstance(there, LoopRecord):
        return [f"variant: it has {variant(there)}, requested: loop"]
    block = want.block // sizes.SECTOR
    wanted = msgspec.structs.replace(there, data=want.data_file, meta=want.meta_file, block_sectors=block)
    differ = differences(there, wanted)
    if there.volume and want.volume not in ("", there.volume):
        differ.append(f"volume: it has {there.volume}, requested: {want.volume}")
    return differ


def _refuse_other_size(have: Facts, want: LoopSpec, now: LoopRecord) -> None:
    """Refuse a size that was never requested before; a pool that has grown still counts as the requested one."""
    data, meta = have.pool.data, have.pool.meta
    # pool.grow records the sizes last: it was interrupted if the files have them already.
    grown = _is(data, want.data, now.asked_bytes)
    has_data = want.data in now.asked_bytes or grown
    computed = want.meta == limits.metadata_size(want.data, want.block)
    has_metadata = has_meta(now, want) or _is(meta, want.meta, now.asked_meta_bytes)
    has_metadata |= bool(grown and computed and meta and meta.size >= want.meta)
    differ, grow, less = list[str](), list[str](), False
    for what, option, size, file, asked, known in (
        ("size", "--size", want.data, data, now.asked_bytes, has_data),
        ("metadata", "--meta-size", want.meta, meta, now.asked_meta_bytes, has_metadata),
    ):
        if known:
            continue
        is_now = file.size if file else asked[-1]
        made = " and then ".join(map(sizes.show, asked))
        before = "" if asked == (is_now,) else f" (requested before: {made})"
        differ.append(f"{what}: it has {sizes.show(is_now)}{before}, requested: {sizes.show(size)}")
        if size > max(is_now, *asked):
            grow += [option, sizes.show(size)]
        elif option == "--size":
            less = True
    if not differ:
        return
    way = f"to make it larger: {hints.command('pool.grow', want.instance, want.name, *grow)}"
    if less or not grow:
        way = f"to remove it, as a pool cannot shrink: {rerun.reset(want.name, want.instance)}"
    hint = f"{rerun.keep(want.name, now)}; {way}"
    raise Refused(f"the pool {want.name} exists with another size", "\n".join(differ), hint=hint)


def _is(file: Backing | None, size: int, asked: tuple[int, ...]) -> bool:
    """Whether a file has grown to exactly this size."""
    return file is not None and file.size == size > max(asked)


def _backing(have: Facts, want: LoopSpec) -> list[Change]:
    """Plan the two files. Metadata comes first, so that data without metadata is a loss, never our interruption."""
    data, meta = have.pool.data, have.pool.meta
    if data and not meta:
        raise Refused(
            f"{want.meta_file} is missing beside {want.data_file}",
            "without its metadata the pool's content cannot be read; a new file would hide the loss",
            hint=f"restore the file, or discard the pool: {rerun.reset(want.name, want.instance)}",
        )
    if meta and meta.used and not data:
        raise Refused(
            f"{want.data_file} is missing beside metadata in use",
            hint=f"restore the file, or discard the pool: {rerun.reset(want.name, want.instance)}",
        )
    plan: list[Change] = []
    conf = units.conf(want.name)
    if not meta:
        why = f"metadata file of {sizes.show(want.meta)} for {want.data // want.block} blocks of data"
        plan.append(_create(why, conf, want.meta_file, "fallocate", "-l", str(want.meta)))
    if not data:
        why = f"sparse data file of {sizes.show(want.data)}{overcommitted(have.pool.place, want.data + want.meta)}"
        plan.append(_create(why, conf, want.data_file, "truncate", "-s", str(want.data)))
    return plan


def _create(why: str, conf: str, path: str, *command: str) -> Command:
    """Create a file under another name first, by a command that takes that name as its last argument."""
    dir, new = path.rpartition("/")[0], f"{path}.new"
    lines = [
        f"[ -d {words(dir)} ] || mkdir -p {words(dir)}",
        f"[ ! -e {words(path)} ] || {{ echo 'it exists by now'; exit 1; }}",
        words("begin_file", conf, new),
        words(*command, new),
        # Each is on disk before the next one is made, so a power cut leaves no data file without metadata either.
        words("sync", new),
        words("mv", new, path),
        words("sync", dir, f"{dir}/.."),
    ]
    return Command(why, "\n".join(lines), gate.functions())


def _active(have: Facts, want: LoopSpec, written: list[Change]) -> list[Change]:
    both = (units.unit(want.name), units.monitor(want.name))
    monitor_service = units.monitor_service(want.name)
    systemd.refuse_masked(have, *both, monitor_service)
    pool = have.pool
    unread = systemd.unread(have, *both, monitor_service)
    reload = [Command("reload systemd's units", "systemctl daemon-reload")] if unread else []
    if not pool.table:
        # "restart", because a unit counts as active even if its pool was taken down behind its back.
        check = f"{hints.command('pool.check', want.instance, want.name)}; then follow its advice"
        start = systemd.start(written, *both, restart=True, otherwise=check)
        return [*reload, Command("activate the pool, now and at every boot", start)]
    _refuse_table(have, want)
    plan: list[Change] = []
    if not (pool.active and pool.enabled and pool.monitor):
        start = systemd.start(written, *both)
        plan += [*reload, Command("the pool's units, now and at every boot", start)]
    elif pool.stale or unread or systemd.unit_files(written):
        plan.append(Command("reload systemd's units", "systemctl daemon-reload"))
    if have.units.of(monitor_service).active == "failed":
        plan.append(Command("run its monitor again, as the last run failed", systemd.run(monitor_service)))
    if growing(have.pool):
        plan.append(Command("finish growing the pool", words(units.SCRIPT, "settle", want.name)))
    if pool.table.when_full != want.when_full:
        why = f"writes to a full pool {'wait for space' if want.when_full == 'queue' else 'get an error at once'}"
        plan.append(Command(why, words(units.SCRIPT, "settle", want.name)))
    return plan


def growing(pool: facts.Pool) -> bool:
    """Return whether the files are longer than the kernel's devices, as after an interrupted growth."""
    table, status, data, meta = pool.table, pool.status, pool.data, pool.meta
    if not (table and status and data and meta and table.block_sectors) or status.needs_check:
        return False
    whole = data.size // (table.block_sectors * sizes.SECTOR) * table.block_sectors
    return table.sectors < whole or status.total_meta < meta.size // limits.META_BLOCK


def _refuse_table(have: Facts, want: LoopSpec) -> None:
    table = have.pool.table
    assert table is not None
    wrong = []
    if table.target != "thin-pool":
        wrong.append(f"target: it has {table.target}, wanted thin-pool")
    data = have.pool.data
    if data and data.size < want.data:
        wrong.append(f"{want.data_file} was truncated: it has {data.size}, requested: {want.data} bytes")
    if table.block_sectors != want.block // 512:
        wrong.append(f"sectors a block: it has {table.block_sectors}, wanted {want.block // 512}")
    for what, device, file in (("data", table.data, have.pool.data), ("metadata", table.meta, have.pool.meta)):
        if device not in _loops(file):
            wrong.append(f"{what} device: it has {device}, the pool's are {', '.join(_loops(file)) or 'none'}")
    if wrong:
        raise Refused(f"the active device {want.name} is not the pool made by this tool", "\n".join(wrong))


def _loops(file: Backing | None) -> tuple[str, ...]:
    return file.loops if file else ()


def make_loop_pool(c: Context, instance: str, **given: Any) -> list[Outcome]:
    """Create the loop pool of the machine's containerd, unless it exists.

    Args:
        c: the machine.
        instance: the containerd instance; see `inventory.of`.
        given: settings of the pool that were typed, of `host.LOOP_OPTIONS`.

    Raises:
        Pending: with --dry, if anything would change.
    """
    host = inventory.of(c, instance)
    host = msgspec.structs.replace(host, pool=host.pool.given({**given, "variant": "loop"}))
    outcomes = converge(c, [step(host), usable.step(host)])
    if any(one.status == "changed" for one in outcomes):
        usable.say_stopped(c, host)
    stated.advise_changed(host, outcomes)
    return outcomes
