"""A fleet on this machine's loopback, by fab and its peers: wall time, CPU and memory, as CSV and as a chart.

The tools take turns in each round, and no connection is kept. Controller and hosts share this machine.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench._run import write_csv
from bench.fleet import extras, figures, goals, peers, targets
from bench.fleet.figures import Row
from bench.fleet.tools import WAYS, Setting, run
from fabfile.paths import REPOSITORY

SIZES = (1, 8, 32, 128, 512)
FEW = 8
"""Limit for the number of hosts that a file is uploaded to."""
EXTRA = 32
"""Limit for the number of hosts in what only our tool is measured with."""


def rounds(of: Setting, sizes: Sequence[int], count: int) -> Iterator[list[Row]]:
    """Yield the figures of each run; each round has all sizes, so that a machine that becomes slower shows in all."""
    for number in range(count):
        for hosts in sizes:
            ways = [way for way in WAYS if hosts <= way.most]
            first = number * len(ways) // count  # so that a drift within a round favours no tool
            for way in ways[first:] + ways[:first]:
                cost = run(way, of._replace(size=hosts))
                spent = f"{cost.wall:7.2f} s, CPU {cost.cpu:6.2f} s, of the hosts {cost.hosts:6.2f} s"
                print(f"{hosts:4} {way.job:8} {way.tool:13} {spent}", flush=True)
                yield figures.rows(number + 1, way.job, way.tool, hosts, cost)


def measure(args: argparse.Namespace, directory: Path) -> list[Row]:
    """Return all figures, which are also written while they come in."""
    found: list[Row] = []
    file = args.out / "fleet.csv"
    with targets.up(directory, max(args.sizes)) as fleet:
        of = Setting(fleet, peers.installed(), max(args.sizes), args.at_once)
        for way in WAYS:
            run(way, of._replace(size=1))  # the first run writes byte code
        for each in rounds(of, args.sizes, args.rounds):
            found += each
            write_csv(file, Row._fields, found)
        few = of._replace(size=min(EXTRA, of.size))
        found += extras.wait(few)
        found += extras.known_hosts(few, args.rounds)
        found += extras.upload(of._replace(size=min(FEW, of.size)), args.rounds)
        found += extras.round_trips(of)
    write_csv(file, Row._fields, found)
    return found


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def main() -> int:
    """Measure, write the files, and print the tables; the exit code is 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--sizes", type=_numbers, default=SIZES, help="numbers of hosts, with commas between them")
    parser.add_argument("--rounds", type=int, default=3, help="how often each tool has its turn at each size")
    parser.add_argument("--at-once", type=int, default=64, help="how many hosts each tool does at a time")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "logs", help="directory of what is written")
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    # As with Ctrl-C, everything that was started is stopped.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() as name:
        found = measure(args, Path(name))
    reached = goals.goals(found)
    print(figures.table(found), goals.table(reached), sep="\n\n")
    from bench.fleet import chart  # only the environment of `nox -s bench` has its requirements

    chart.draw(found, args.out / "fleet")
    return 0 if all(goal.reached for goal in reached) else 1


if __name__ == "__main__":
    sys.exit(main())
