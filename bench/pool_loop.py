"""`fab -H HOST pool.loop --size 100G` against the recipe as one script over one `ssh`: at most 2 times its wall time.

Both make the pool on the same throwaway machine, in turn, and are undone in between. The script is the recipe's own:
two sparse files, two loop devices, one `dmsetup create`; it looks at nothing, and nothing of it survives a reboot.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from bench._run import run

LIMIT = 2.0
ROUNDS = 7

RECIPE = """
set -ex
DATA_DIR=/var/lib/recipe
POOL_NAME=recipe
test -e ${DATA_DIR} || mkdir -p ${DATA_DIR}
sudo touch "${DATA_DIR}/data"
sudo truncate -s 100G "${DATA_DIR}/data"
sudo touch "${DATA_DIR}/meta"
sudo truncate -s 10G "${DATA_DIR}/meta"
DATA_DEV=$(sudo losetup --find --show "${DATA_DIR}/data")
META_DEV=$(sudo losetup --find --show "${DATA_DIR}/meta")
DATA_SIZE="$(sudo blockdev --getsize64 -q ${DATA_DEV})"
LENGTH_IN_SECTORS=$((DATA_SIZE / 512))
sudo dmsetup create "${POOL_NAME}" --table "0 ${LENGTH_IN_SECTORS} thin-pool ${META_DEV} ${DATA_DEV} 128 32768"
dmsetup ls
"""
"""The page's own script, with shell arithmetic instead of bc."""

UNDO_RECIPE = "dmsetup remove recipe && losetup -D && rm -r /var/lib/recipe"


def seconds(command: list[str], **environment: str) -> float:
    """Return the wall time of one run in seconds."""
    start = perf_counter()
    run(command, **environment)
    return perf_counter() - start


def measure() -> list[tuple[float, float]]:
    """Return the seconds of ours and of the recipe, one pair per round."""
    from fabfile.lab import machines

    (machine,) = machines.up(1)
    fab = [str(Path(sys.executable).with_name("fab")), "-H", machine.name]
    hosts = {"HOSTS_FILE": str(machine.directory.parent / "hosts.toml")}
    rounds = []
    for _ in range(ROUNDS + 1):
        ours = seconds([*fab, "pool.loop", "--size", "100G"], **hosts)
        seconds([*fab, "pool.reset", "--yes"], **hosts)
        recipe = seconds(machine.ssh(RECIPE))
        seconds(machine.ssh(UNDO_RECIPE))
        rounds.append((ours, recipe))
    return rounds[1:]  # the first run loads kernel modules and programs


def main() -> int:
    """Print the table; the exit code is 1 if the limit is exceeded."""
    from fabfile.lab import machines

    with tempfile.TemporaryDirectory() as directory:
        os.environ["LAB_DIR"] = str(Path(directory) / "lab")
        try:
            rounds = measure()
        finally:
            machines.down()
    for name, times in zip(("fab pool.loop", "ssh, the recipe"), zip(*rounds, strict=True), strict=True):
        print(f"{name:16} median {statistics.median(times):5.2f} s, {min(times):.2f} to {max(times):.2f} s")
    ratio = statistics.median(ours / recipe for ours, recipe in rounds)
    print(f"ratio {ratio:.2f}, at most {LIMIT} ({ROUNDS} interleaved rounds)")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
