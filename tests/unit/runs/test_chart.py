"""The bars of a run: as wide as their times, one after the other, and all of them in the picture."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.output.outcome import HostReport, Outcome, TaskReport, Unfinished
from fabfile.runs.chart import COLORS, OTHER, WIDTH, Chart, Row, chart, scale_of


def host(seconds: float, /, **steps: float) -> HostReport:
    """The report of a host whose steps took so long."""
    outcomes = [Outcome(name, "changed", "why", time) for name, time in steps.items()]
    return HostReport("changed", seconds, [TaskReport("deploy", "changed", seconds, outcomes)])


def drawn(**hosts: HostReport) -> Chart:
    found = chart(hosts)
    assert found
    return found


def rows(picture: Chart) -> list[Row]:
    """The rows of all parts."""
    return [row for part in picture.parts for row in part.rows]


def test_a_bar_is_as_wide_as_its_time_and_begins_where_the_one_before_ends() -> None:
    picture = drawn(a=host(8.0, one=1.0, two=6.0), b=host(4.0, two=4.0))
    first, second = rows(picture)
    assert [(bar.step, bar.seconds) for bar in first.bars] == [(OTHER, 1.0), ("one", 1.0), ("two", 6.0)]
    assert first.bars[2].width == pytest.approx(6 * first.bars[1].width)
    assert second.bars[0].width == pytest.approx(4 * first.bars[1].width)
    assert first.bars[0].x == second.bars[0].x == picture.left
    for bar, following in pairwise(first.bars):
        assert bar.x + bar.width == pytest.approx(following.x)
    assert (first.seconds, second.seconds) == (8.0, 4.0)
    assert picture.legend == [(OTHER, 0), ("one", 1), ("two", 2)]
    assert first.bars[2].color == second.bars[0].color


def test_the_scale_is_that_of_the_bars() -> None:
    picture = drawn(a=host(8.0, one=8.0))
    (bar,) = rows(picture)[0].bars
    assert [tick.text for tick in picture.ticks] == [f"{number} s" for number in range(9)]
    assert picture.ticks[8].x == pytest.approx(bar.x + bar.width)


def test_a_step_that_failed_is_told_from_those_that_did_not() -> None:
    report = host(3.0, one=1.0)
    report.tasks[0].status, report.tasks[0].unfinished = "failed", Unfinished("two", 2.0)
    assert [(bar.step, bar.well) for bar in rows(drawn(a=report))[0].bars] == [("one", True), ("two", False)]


def test_where_nothing_took_any_time_there_is_none() -> None:
    assert chart({}) is None
    assert chart({"a": HostReport("ok")}) is None


TIMES = st.lists(st.dictionaries(st.text(max_size=60), st.floats(0, 1e5), max_size=12), min_size=1, max_size=50)


@given(times=TIMES)
def test_everything_is_within_the_picture(times: list[dict[str, float]]) -> None:
    hosts = {"h" * (number + 1): host(sum(steps.values()) + 1, **steps) for number, steps in enumerate(times)}
    picture = drawn(**hosts)
    assert [row.host for row in rows(picture)] == list(hosts)
    for part in picture.parts:
        assert all(0 <= row.y <= part.height - 18 for row in part.rows)
        assert len({row.y for row in part.rows}) == len(part.rows)
    for bar in (bar for row in rows(picture) for bar in row.bars):
        assert picture.left <= bar.x and bar.x + bar.width <= WIDTH and 0 <= bar.color <= COLORS


@given(most=st.floats(0.005, 1e7))
def test_a_scale_is_round_and_short(most: float) -> None:
    numbers = scale_of(most)
    assert 2 <= len(numbers) <= 10
    assert numbers[0] == 0 and numbers[-1] <= most * 1.0001 and len(set(numbers)) == len(numbers)
