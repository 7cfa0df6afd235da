"""Inferences of which several are under way at once, and which end in their order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from segopt.backends.base import Pending
from segopt.pipeline.channel import Channel

Work = TypeVar("Work")


def overlapped(
    channel: Channel[Work], begin: Callable[[Work], Pending[Any]], depth: int
) -> Iterator[tuple[Work, Any, float]]:
    """Everything that a channel gives, once its inference has ended.

    What is done is never kept back for what has not come yet.

    Args:
        channel: gives the work.
        begin: begins an inference. What goes wrong is raised when its turn comes, after the results before it.
        depth: how many are under way at most.

    Yields:
        The work, its outputs, and the seconds that it took; what it waited for the one before it is not counted.
    """
    under_way: deque[tuple[Work, float, Pending[Any]]] = deque()
    done = 0.0
    while True:
        work = channel.take() if under_way else channel.get()
        if work is not None:
            under_way.append((work, time.perf_counter(), _begun(begin, work)))
            if len(under_way) < depth:
                continue
        elif not under_way:
            return
        work, started, pending = under_way.popleft()
        outputs = pending.result()
        started, done = max(started, done), time.perf_counter()
        yield work, outputs, done - started


def _begun(begin: Callable[[Work], Pending[Any]], work: Work) -> Pending[Any]:
    try:
        return begin(work)
    except BaseException as error:
        return Pending(partial(_raise, error))


def _raise(error: BaseException) -> Any:
    raise error
