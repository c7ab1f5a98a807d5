"""The ranges that a trim discards: the shell's reading of thin_dump, compared with sets of blocks in Python."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.render import render

BLOCK = 128
"""Sectors."""

RUN = st.tuples(st.integers(0, 900), st.integers(1, 60))
"""First block and length. Runs may overlap, as snapshots share blocks."""


def dump(blocks: int, runs: list[tuple[int, int]]) -> str:
    """A dump of a pool's metadata, as thin_dump prints it."""
    lines = [f'<superblock uuid="" time="0" transaction="3" version="2" data_block_size="{BLOCK}"']
    lines[0] += f' nr_data_blocks="{blocks}">'
    for device, (begin, length) in enumerate(runs, 1):
        lines.append(f'  <device dev_id="{device}" mapped_blocks="{length}" transaction="0" creation_time="0">')
        if length == 1:
            lines.append(f'    <single_mapping origin_block="7" data_block="{begin}" time="0"/>')
        else:
            lines.append(f'    <range_mapping origin_begin="5" data_begin="{begin}" length="{length}" time="0"/>')
        lines.append("  </device>")
    return "\n".join([*lines, "</superblock>", ""])


def free(xml: str, before: str = "") -> list[tuple[int, int]]:
    """The ranges that the shell finds free, in bytes.

    Args:
        xml: a dump.
        before: shell that runs first.
    """
    script = f"{before}\n" + render("pool/free-ranges.sh.j2") + "free_ranges\n"
    done = subprocess.run(["sh", "-euc", script], input=xml, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [(int(offset), int(length)) for offset, length in (line.split() for line in done.stdout.splitlines())]


@settings(max_examples=60)
@given(st.integers(960, 1200), st.lists(RUN, max_size=12))
def test_free_ranges_are_those_that_no_device_has(blocks: int, runs: list[tuple[int, int]]) -> None:
    used = {block for begin, length in runs for block in range(begin, begin + length)}
    found, size = free(dump(blocks, runs)), BLOCK * 512
    discarded = {block for at, length in found for block in range(at // size, (at + length) // size)}
    assert discarded == {*range(blocks)} - used
    assert all(at % size == length % size == 0 for at, length in found)


def test_a_pool_of_a_pebibyte_is_counted_to_the_byte() -> None:
    blocks = (1 << 50) // (BLOCK * 512)
    assert free(dump(blocks, [(blocks - 1, 1)])) == [(0, (1 << 50) - BLOCK * 512)]


@pytest.mark.parametrize(
    "xml",
    [
        dump(1000, [(0, 9)]).replace("</superblock>\n", ""),
        dump(1000, [(0, 9)]).replace("data_begin", "data_start"),
        dump(1000, [(999, 2)]),
        "",
    ],
    ids=["cut off", "of another format", "behind the end", "nothing"],
)
def test_a_damaged_dump_discards_nothing(xml: str) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        free(xml)


@pytest.mark.parametrize("lines", range(5))
def test_a_sort_that_dies_while_it_prints_discards_nothing(lines: int) -> None:
    runs = [(0, 9), (20, 5), (400, 3)]
    dies = f'sort() {{ command sort "$@" | head -n {lines}; }}'
    with pytest.raises(subprocess.CalledProcessError):
        free(dump(1000, runs), dies)
    assert free(dump(1000, runs), dies.replace(f"-n {lines}", "-n 5")) == free(dump(1000, runs))
