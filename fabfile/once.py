"""Results that the threads of all hosts need, computed by one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

MOST = 512
"""Limit for the results that are kept for a function."""

P = ParamSpec("P")
R = TypeVar("R")


def once(function: Callable[P, R]) -> Callable[P, R]:
    """Keep the results of a function, and compute each of them once.

    With functools.cache, all threads that need a result at the same time compute it, and at the start of a run that is
    every thread. Here they wait for each other, so this is not for functions that wait for anything else.

    Args:
        function: its arguments are hashable. An error is not kept.
    """
    kept, lock = lru_cache(MOST)(function), threading.RLock()

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with lock:
            return kept(*args, **kwargs)  # type: ignore[arg-type]  # lru_cache wants all arguments declared as hashable

    return call
