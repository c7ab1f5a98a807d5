"""The measures of a kind: first pull, container start, I/O in a container, space. Less is better for all of them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import NamedTuple

from bench.snapshotter import image
from bench.snapshotter.kinds import Bench, Kind

STARTS = 3
COLD = "sync; echo 3 >/proc/sys/vm/drop_caches"
MIB = 1 << 20


class Measure(NamedTuple):
    """One measure, in seconds or MiB."""

    name: str
    title: str
    unit: str = "s"


PULL, DISK, START = (
    Measure("pull", "first pull and unpack"),
    Measure("pull-sync", "the same, until it is on the disk"),
    Measure("start", "container start"),
)
WRITE, READ, RANDOM_WRITE, RANDOM_READ, CHANGE = (
    Measure("write", "sequential write, 256 MiB"),
    Measure("read", "sequential read, 256 MiB"),
    Measure("random-write", "random 4K write, 16 MiB in 256"),
    Measure("random-read", "random 4K read, 16 MiB in 256"),
    Measure("change", "random 4K write, 2 MiB in a file of the image"),
)
IMAGE_SPACE, CONTAINER_SPACE = (
    Measure("image-space", "space of the image", "MiB"),
    Measure("container-space", "space of the container that wrote", "MiB"),
)
MEASURES = (
    PULL, DISK, START, WRITE, READ, RANDOM_WRITE, RANDOM_READ, CHANGE, IMAGE_SPACE, CONTAINER_SPACE,
)  # fmt: skip

FIO = "/usr/bin/fio --name=job --ioengine=psync --direct=1 --output-format=json --fallocate=none"
JOBS = {
    WRITE: "--filename=/file --size=256M --rw=write --bs=1M --end_fsync=1",
    READ: "--filename=/file --size=256M --rw=read --bs=1M",
    RANDOM_WRITE: "--filename=/file --size=256M --io_size=16M --rw=randwrite --bs=4k --end_fsync=1",
    RANDOM_READ: "--filename=/file --size=256M --io_size=16M --rw=randread --bs=4k",
    CHANGE: f"--filename={image.FILE} --io_size=2M --rw=randwrite --bs=4k --end_fsync=1",
}
"""Measure → options of fio. The file is the container's own."""

MOUNTS = " ".join(f"--mount type=bind,src={path},dst={path},options=rbind:ro" for path in ("/usr", "/lib", "/lib64"))
"""fio and its libraries are the machine's."""


def measure(bench: Bench, kind: Kind) -> dict[Measure, float]:
    """Measure a kind once; afterwards nothing of it is left in its containerd."""
    ctr = bench.hosts[kind.name].daemon.ctr
    with_snapshotter = f"--snapshotter {kind.snapshotter}"
    pull, sync = _laps(bench, f"{ctr} images pull --plain-http {with_snapshotter} {bench.image} >/dev/null", "sync")
    image_space = _space(bench, kind)
    run = f"{ctr} run {with_snapshotter}"
    starts = _laps(bench, *(f"{run} --rm {bench.image} start-{number} true" for number in range(STARTS)))
    bench.ssh(f"{run} -d {MOUNTS} {bench.image} io sleep 100000")
    io = {job: seconds(_fio(bench, ctr, options)) for job, options in JOBS.items()}
    container_space = _space(bench, kind) - image_space
    bench.ssh(f"{ctr} tasks rm -f io; {ctr} containers rm io && {ctr} images rm --sync {bench.image}")
    return {
        PULL: pull, DISK: pull + sync, START: sum(starts) / STARTS, **io,
        IMAGE_SPACE: image_space, CONTAINER_SPACE: container_space,
    }  # fmt: skip


def _laps(bench: Bench, *commands: str) -> list[float]:
    """Return the seconds that each command took, run in order, the first one with cold caches."""
    lines = [COLD, "date +%s.%N", *(f"{command} </dev/null\ndate +%s.%N" for command in commands)]
    times = list(map(float, bench.ssh("set -e\n" + "\n".join(lines)).split()))
    return [after - before for before, after in pairwise(times)]


def _fio(bench: Bench, ctr: str, options: str) -> str:
    return bench.ssh(f"{COLD}; {ctr} tasks exec --exec-id fio io {FIO} {options} </dev/null")


def seconds(report: str) -> float:
    """Return the run time of the only job in fio's JSON report, including the last fsync, in seconds."""
    (job,) = json.loads(report)["jobs"]
    return sum(float(job[way]["runtime"]) for way in ("read", "write")) / 1000


def _space(bench: Bench, kind: Kind) -> float:
    """MiB that the kind's snapshots take up in the file system or the pool."""
    if kind.snapshotter == "overlayfs":
        root = bench.hosts[kind.name].daemon.root
        return float(bench.ssh(f"sync; du -sk {root}/io.containerd.snapshotter.v1.overlayfs").split()[0]) / 1024
    pool = bench.hosts[kind.name].pool.dm_name
    table, status = bench.ssh(f"sync; dmsetup table {pool}; dmsetup status {pool}").splitlines()
    return used(table, status) / MIB


def used(table: str, status: str) -> int:
    """Return the bytes that a thin pool has provisioned, from its lines of `dmsetup table` and `dmsetup status`."""
    return int(status.split()[5].partition("/")[0]) * int(table.split()[5]) * 512
