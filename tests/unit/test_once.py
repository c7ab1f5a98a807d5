"""A result that many threads need is computed by one of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fabfile import render
from fabfile.once import once


def test_threads_that_need_a_result_at_the_same_time_share_it() -> None:
    calls: list[int] = []
    started, computed = threading.Barrier(8), threading.Event()

    @once
    def double(number: int) -> int:
        calls.append(number)
        computed.wait(0.2)  # long enough for the other threads to arrive
        return 2 * number

    def ask(number: int) -> int:
        started.wait()
        return double(number)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, [1, 2] * 4)) == [2, 4] * 4
    assert sorted(calls) == [1, 2]


def test_an_error_is_not_kept() -> None:
    calls: list[int] = []

    @once
    def fails(number: int) -> int:
        calls.append(number)
        raise ValueError(number)

    for _ in range(2):
        with pytest.raises(ValueError, match="3"):
            fails(3)
    assert calls == [3, 3]


def test_the_threads_of_all_hosts_share_one_compiled_template() -> None:
    started = threading.Barrier(8)

    def compiled(name: str) -> int:
        started.wait()
        return id(render.template(name))

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(compiled, ["containerd/build.sh.j2"] * 8))) == 1
