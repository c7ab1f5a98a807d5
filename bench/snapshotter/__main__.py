"""Compare devmapper with overlayfs on a throwaway machine: first pull, start, I/O and space, as CSV and as a chart.

Every figure is divided by that of overlayfs in the same round; the kinds take turns in each round.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench._run import write_csv
from bench.snapshotter import image, kinds, result
from bench.snapshotter.kinds import KINDS
from bench.snapshotter.measures import measure
from bench.snapshotter.result import Row
from fabfile.lab import machines, mirror
from fabfile.paths import REPOSITORY


def rounds(lab: Path, count: int) -> Iterator[list[Row]]:
    """Yield the figures of each round, from a machine that is started for this."""
    bench = kinds.up(lab, image.NAME)
    image.push(lab, mirror.build())
    for number in range(count):
        first = number % len(KINDS)  # so that each is first once, and a drift within a round favours none
        found = []
        for kind in KINDS[first:] + KINDS[:first]:
            figures = measure(bench, kind)
            print(number + 1, kind.name, *(f"{of.name}={value:.2f}" for of, value in figures.items()), flush=True)
            found += [Row(number + 1, kind.name, of.name, of.unit, value) for of, value in figures.items()]
        yield found


def main() -> int:
    """Measure, write the files, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.snapshotter", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each kind has its turn")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "logs", help="directory of what is written")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        lab = Path(directory) / "lab"
        os.environ["LAB_DIR"] = str(lab)
        found: list[Row] = []
        args.out.mkdir(exist_ok=True)
        try:
            for each in rounds(lab, args.rounds):
                found += each
                # After each round, so that a later failure loses none of the earlier figures.
                write_csv(args.out / "snapshotter.csv", Row._fields, found)
        finally:
            machines.down()
    print(result.table(found))
    from bench.snapshotter import chart  # only the environment of `nox -s bench` has its requirements

    chart.draw(found, args.out / "snapshotter")
    return 0


if __name__ == "__main__":
    sys.exit(main())
