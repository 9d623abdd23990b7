"""
What was submitted and is not stored yet: a bounded queue of requests, taken in groups by the one thread that stores them.

A commit costs more than a millisecond of processor time, whatever is in it; so while several ask at once, the thread rests
between two, longer than the last one took, at most 10 ms.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from playhead.errors import QueueFull, RecordingClosed
from playhead.events import Cursor, NewEvent

_MAX_WAITING = 200_000
_MAX_GROUP = 20_000
_PACE, _MOST_PACE_S = 1.8, 0.01  # from one commit's begin to the next: times what the last took, and at most
_WORTH_IT = 100  # events that are not waited with


class Appended(NamedTuple):
    """
    What became of a request: its events, how many were there already, the new ones' seqs, a cursor past them all.

    ``is_provisional``: they are durable and have no seq yet; the cursor is what was known then.
    """

    accepted: int
    duplicates: int
    first_seq: int | None
    last_seq: int | None
    cursor: Cursor
    is_provisional: bool = False


class Request(NamedTuple):
    """Events that were submitted together, whose they are, and who is told."""

    events: Sequence[NewEvent]
    organization_id: str | None
    done: Future[Appended]


class Requests:
    """The queue, and the thread that takes from it; ``path`` is for the error once it is closed."""

    def __init__(self, path: str, store: Callable[[list[Request]], None], name: str) -> None:
        self._path, self._store = path, store
        self._queue: deque[Request] = deque()
        self.waiting = 0
        self._changed = threading.Condition()
        self._may_begin, self._is_shared = 0.0, False  # after the last commit, which was for several requests or not
        self._is_pacing = False
        self._is_closing, self._why = False, RecordingClosed.CLOSED
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, events: Sequence[NewEvent], organization_id: str | None) -> Future[Appended]:
        """Queue a request; raises QueueFull at once when too many events wait."""
        done: Future[Appended] = Future()
        with self._changed:
            if self._is_closing:
                raise RecordingClosed(self._path, self._why)
            if self.waiting and self.waiting + len(events) > _MAX_WAITING:
                raise QueueFull(self.waiting)
            self.waiting += len(events)
            self._queue.append(Request(events, organization_id, done))
            if not self._is_pacing or self.waiting >= _WORTH_IT:
                self._changed.notify()
        return done

    def close(self) -> None:
        """Have all that waits stored, and end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def abandon(self) -> None:
        """In a forked child, which has no such thread: take nothing more."""
        self._changed = threading.Condition()
        self._is_closing, self._why = True, RecordingClosed.FORKED

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._is_closing:
                    self._changed.wait()
                if not self._queue:
                    return
                self._pace()
                group = self._take_group()
            if group:
                begun = time.monotonic()
                self._store(group)
                self._may_begin = begun + min(_MOST_PACE_S, _PACE * (time.monotonic() - begun))

    def _pace(self) -> None:
        """Let more come together, for a moment, while there is much to commit and little in each request."""
        self._is_pacing = self._is_shared
        while self._is_pacing and self.waiting < _WORTH_IT and not self._is_closing:
            left = self._may_begin - time.monotonic()
            if left <= 0:
                break
            self._changed.wait(left)
        self._is_pacing = False

    def _take_group(self) -> list[Request]:
        group: list[Request] = []
        size = 0
        while self._queue:
            size += len(self._queue[0].events)
            if group and size > _MAX_GROUP:
                break
            request = self._queue.popleft()
            self.waiting -= len(request.events)
            if request.done.set_running_or_notify_cancel():  # from here on it can no longer be cancelled
                group.append(request)
        self._is_shared = len(group) > 1
        return group
