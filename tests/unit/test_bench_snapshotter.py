"""What bench.snapshotter makes of its figures: no machine, nothing drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench._run import write_csv
from bench.snapshotter import result
from bench.snapshotter.kinds import KINDS
from bench.snapshotter.measures import MEASURES, seconds, used
from bench.snapshotter.result import Ratio, Row


def figures(kind: str, *values: float) -> list[Row]:
    return [Row(number, kind, "pull", "s", value) for number, value in enumerate(values, 1)]


def test_each_figure_is_divided_by_overlayfs_s_of_its_own_round() -> None:
    rows = figures("overlayfs", 1, 10, 100) + figures("loop 64K", 3, 20, 100)
    assert result.ratios(rows, "loop 64K", "pull") == Ratio(2, 1, 3)
    assert result.ratios(rows, "overlayfs", "pull") == Ratio(1, 1, 1)


def test_a_round_without_overlayfs_is_no_ratio() -> None:
    with pytest.raises(KeyError):
        result.ratios(figures("loop 64K", 3), "loop 64K", "pull")


def test_other_measures_do_not_count() -> None:
    rows = [*figures("overlayfs", 1), *figures("loop 64K", 2), Row(1, "overlayfs", "start", "s", 5)]
    assert result.ratios(rows, "loop 64K", "pull") == Ratio(2, 2, 2)


def test_a_name_with_a_comma_is_quoted_in_the_csv_file(tmp_path: Path) -> None:
    rows = figures("overlayfs", 1.5, 0.125) + figures("loop 64K, page cache", 2)
    write_csv(tmp_path / "figures.csv", Row._fields, rows)
    assert (tmp_path / "figures.csv").read_text() == (
        "round,kind,measure,unit,value\n1,overlayfs,pull,s,1.500\n2,overlayfs,pull,s,0.125\n"
        '1,"loop 64K, page cache",pull,s,2.000\n'
    )


def test_the_table_has_a_line_for_each_measure_and_a_column_for_each_kind() -> None:
    rows = [Row(1, kind.name, measure.name, measure.unit, 2) for kind in KINDS for measure in MEASURES]
    head, _, *lines = result.table(rows).splitlines()
    assert head.count("|") == len(KINDS) + 1
    assert len(lines) == len(MEASURES)
    assert all(line.count("1.00 (1.00") == len(KINDS) - 1 for line in lines)


@pytest.mark.parametrize(
    ("read", "write", "is_"), [(0, 1500, 1.5), (250, 0, 0.25)], ids=["a job that writes", "a job that reads"]
)
def test_the_seconds_of_a_job_of_fio(read: int, write: int, is_: float) -> None:
    job = {"jobname": "job", "job_runtime": 9, "read": {"runtime": read}, "write": {"runtime": write}}
    assert seconds(json.dumps({"fio version": "fio-3.33", "jobs": [job]})) == is_


def test_a_job_that_never_ran_is_an_error() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        seconds(json.dumps({"fio version": "fio-3.33", "jobs": []}))


def test_what_a_pool_has_given_out() -> None:
    table = "0 16777216 thin-pool 7:1 7:0 1024 5120 2 skip_block_zeroing error_if_no_space"
    status = "0 16777216 thin-pool 7 212/4161 1200/16384 - rw discard_passdown queue_if_no_space - 1024"
    assert used(table, status) == 1200 * 512 * 1024
