"""By how much a pool grows: the shell arithmetic that hosts run, compared with the same in Python."""

from __future__ import annotations

import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.render import render

BLOCKS = st.integers(1, 1 << 44)
"""Up to 1 EiB in blocks of 64 KiB."""
CASES = st.lists(
    st.tuples(BLOCKS, st.integers(0, 100), st.integers(1, 100), st.integers(1, 1000), st.integers(1, 1024), BLOCKS),
    min_size=1,
    max_size=60,
)


def expected(used: int, total: int, threshold: int, percent: int, least: int, most: int) -> int:
    """Grow in steps until the usage is below the threshold, within the limits."""
    if threshold == 100 or used * 100 < total * threshold:
        return total
    size = total
    while used * 100 >= size * threshold and size < most:
        size += max(size * percent // 100, least)
    return max(min(size, most), total)


@settings(max_examples=30)
@given(CASES)
def test_the_shell_computes_like_python(cases: list[tuple[int, int, int, int, int, int]]) -> None:
    script, wanted = render("pool/next-size.sh.j2"), []
    for total, full, threshold, percent, least, most in cases:
        used = total * full // 100
        script += f'THRESHOLD={threshold} PERCENT={percent}; next_size {used} {total} {least} {most}; echo "$next"\n'
        wanted.append(expected(used, total, threshold, percent, least, most))
    done = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True)
    assert list(map(int, done.stdout.split())) == wanted
    for size, (total, full, threshold, _, _, most) in zip(wanted, cases, strict=True):
        assert size >= total
        assert size <= max(most, total)
        assert threshold == 100 or size >= most or total * full // 100 * 100 < size * threshold
