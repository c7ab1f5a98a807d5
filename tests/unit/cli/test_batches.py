"""Batches of hosts, and when no more of them begin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.cli import batches
from fabfile.cli.batches import FailureLimit, Share
from fabfile.errors import Refused

shares = st.builds(Share, st.integers(1, 300), st.just(False)) | st.builds(Share, st.integers(1, 100), st.just(True))
hosts = st.lists(st.integers(), max_size=300)


@given(hosts, st.lists(shares, min_size=1, max_size=5))
def test_every_host_is_in_one_batch_and_in_order(names: list[int], wanted: list[Share]) -> None:
    planned = batches.planned(names, wanted)
    assert [name for batch in planned for name in batch] == names
    assert all(planned)


@given(hosts, st.lists(shares, min_size=1, max_size=5))
def test_batches_have_the_sizes_that_were_typed_and_then_the_last_one(names: list[int], wanted: list[Share]) -> None:
    sizes = [len(batch) for batch in batches.planned(names, wanted)]
    for number, size in enumerate(sizes[:-1]):
        share = wanted[number] if number < len(wanted) else wanted[-1]
        if share.percent:
            assert size == max(1, share.number * len(names) // 100)
        else:
            assert size == share.number
    if sizes:
        last = wanted[min(len(sizes), len(wanted)) - 1]
        assert 1 <= sizes[-1] <= max(1, len(names) * last.number // 100 if last.percent else last.number)


@given(st.lists(shares, min_size=1, max_size=5))
def test_what_is_typed_is_what_is_read(wanted: list[Share]) -> None:
    assert batches.sizes(",".join(map(str, wanted))) == wanted


@pytest.mark.parametrize(
    ("count", "text", "sizes"),
    [
        (20, "1,5,20%", [1, 5, 4, 4, 4, 2]),
        (10, "1,100%", [1, 9]),
        (3, "20%", [1, 1, 1]),
        (7, "30%", [2, 2, 2, 1]),
        (4, "10", [4]),
        (4, "1, 2", [1, 2, 1]),
        (0, "1", []),
    ],
)
def test_examples(count: int, text: str, sizes: list[int]) -> None:
    assert [len(batch) for batch in batches.planned(range(count), batches.sizes(text))] == sizes


NO_SIZES = [
    "",
    "0",
    "0%",
    "00",
    "101%",
    "5,,",
    ",5",
    "1,0",
    "1;5",
    "-1",
    "1.5",
    "5 %",
    "%",
    "five",
    "1e3",
    "٣",
    "9999999",
]


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Refused) as refused:
        batches.sizes(text)
    assert refused.value.what.startswith("--batches: ")
    assert refused.value.hint == "for example --batches 1,5,20%"


@pytest.mark.parametrize("text", ["", "101%", "-1", "1,2", "some", "10%%", "1.5%"])
def test_what_is_no_limit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Refused) as refused:
        batches.limit(text)
    assert refused.value.what.startswith("--max-fail: ")
    assert refused.value.hint == "for example --max-fail 10%"


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (batches.sizes, batches.limit):
        try:
            read(text)
        except Refused as refused:
            assert refused.hint


@given(
    st.none() | shares | st.builds(Share, st.just(0), st.booleans()),
    st.lists(st.lists(st.sampled_from(["ok", "changed", "failed", "unreachable", "refused", "pending"]), max_size=8)),
)
def test_the_gate_shuts_with_the_first_host_too_many_and_stays_shut(
    most: Share | None, statuses: list[list[str]]
) -> None:
    failure_limit = FailureLimit(most)
    reached = wrong = 0
    too_many = False
    for batch in statuses:
        failure_limit.next_batch(len(batch))
        reached += len(batch)
        for status in batch:
            assert (failure_limit.stopped() is not None) == too_many
            failure_limit.ended("host", status)
            wrong += 1 if status in ("failed", "unreachable", "refused") else 0
            if most is not None:
                too_many |= wrong * 100 > most.number * reached if most.percent else wrong > most.number
    assert (failure_limit.stopped() is not None) == too_many


def test_a_percentage_is_of_the_batches_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    canary, later = FailureLimit(batches.limit("10%")), FailureLimit(batches.limit("10%"))
    canary.next_batch(1)
    canary.ended("web01", "failed")
    assert canary.stopped()
    for number in range(2):
        later.next_batch(5)
        for host in range(4):
            later.ended(f"web{number}{host}", "ok")
    later.ended("web14", "unreachable")
    assert not later.stopped()
    later.ended("web05", "failed")
    stopped = later.stopped()
    assert stopped and stopped.what == "not started: web14, web05 failed"
    assert stopped.details == "2 of 10 hosts failed so far; --max-fail allows 1"
    assert later.stopped() is stopped
    said = capsys.readouterr().err
    assert said.count("not started: web14, web05 failed") == 1, "it is said once"


def test_many_hosts_are_counted() -> None:
    failure_limit = FailureLimit(Share(4))
    failure_limit.next_batch(9)
    for number in range(5):
        failure_limit.ended(f"h{number}", "failed")
    stopped = failure_limit.stopped()
    assert stopped and stopped.what == "not started: h0, h1, h2 and 2 more failed"
