"""`inv --list` against its floor, `python -c "import invoke"`: at most 2.5 times its wall time, by the median."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

LIMIT = 2.5
RUNS = 21
HERE = Path(__file__).resolve().parent.parent


def seconds(command: list[str]) -> float:
    """Return the wall time of one run in seconds."""
    start = perf_counter()
    subprocess.run(command, cwd=HERE, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - start


def main() -> int:
    """Print the table; the exit code is 1 if the limit is exceeded."""
    inv = Path(sys.executable).with_name("inv")
    commands = {
        'python -c "import invoke"': [sys.executable, "-c", "import invoke"],
        "inv --list": [sys.executable, os.fspath(inv), "--list"],
    }
    for command in commands.values():
        seconds(command)  # the first run writes the byte code
    rounds = [{name: seconds(command) for name, command in commands.items()} for _ in range(RUNS)]
    print(f"{'':28} {'median':>8} {'fastest':>8} {'slowest':>8}")
    for name in commands:
        times = sorted(1000 * each[name] for each in rounds)
        print(f"{name:28} {statistics.median(times):5.0f} ms {times[0]:5.0f} ms {times[-1]:5.0f} ms")
    floor, ours = commands
    ratio = statistics.median(each[ours] / each[floor] for each in rounds)
    print(f"ratio {ratio:.2f}, at most {LIMIT} ({RUNS} interleaved runs)")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
