"""A queue between two threads that either of them can end without the other waiting for ever."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """Passes items from one thread to another, in order.

    Full, it makes the giver wait; or, with ``latest_only``, throws away what waits and counts it in ``dropped``.
    """

    def __init__(self, size: int, *, latest_only: bool = False) -> None:
        self.dropped = 0
        self._size = size
        self._latest_only = latest_only
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._finished = False
        self._aborted = False

    def put(self, item: T) -> bool:
        """Hand over an item, waiting for room; False when nobody takes items any more."""
        with self._changed:
            if self._latest_only:
                self.dropped += len(self._items)
                self._items.clear()
            else:
                self._changed.wait_for(lambda: self._aborted or len(self._items) < self._size)
            if self._aborted:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> T | None:
        """Take the next item, waiting for one; None when no more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._finished or self._aborted)
            if self._aborted or not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def take(self) -> T | None:
        """Take the next item if there is one; never waits."""
        with self._changed:
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def finish(self) -> None:
        """From the giver: nothing more will come. What waits can still be taken."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def abort(self) -> None:
        """From either side: throw away what waits and let nobody wait."""
        with self._changed:
            self._aborted = True
            self._items.clear()
            self._changed.notify_all()
