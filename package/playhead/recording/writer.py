"""
The one thread that writes: what waits is committed together, one fsync for all of it (group commit).

A request is all or nothing, and its future is done only when its events are durable. The queue is bounded: when it is
full `Writer.submit` raises `QueueFull` and nothing is taken.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import duckdb
import numpy as np

from playhead.columns import to_arrow
from playhead.errors import QueueFull, RecordingClosed, RecordingFull
from playhead.events import Cursor, Event, NewEvent
from playhead.recording.index import event_digests
from playhead.recording.segments import Segments
from playhead.times import expiry, now

_MAX_WAITING = 200_000
_MAX_GROUP = 20_000
_FAILURE_S = 30.0
_log = logging.getLogger("playhead.recording")


class Appended(NamedTuple):
    """What became of a request: its events, how many were there already, the new ones' seqs, a cursor past them all."""

    accepted: int
    duplicates: int
    first_seq: int | None
    last_seq: int | None
    cursor: Cursor


class _Request(NamedTuple):
    events: Sequence[NewEvent]
    organization_id: str | None
    done: Future[Appended]


class _Task(NamedTuple):
    work: Callable[[], int]
    done: Future[int]


class Writer:
    """Numbers, stores and announces events, in one thread."""

    def __init__(
        self, segments: Segments, *, path: str, epoch: str, retention_s: float, size: int
    ) -> None:
        self._segments, self._path, self._epoch = segments, path, epoch
        self._retention_s, self._size = retention_s, size
        self._queue: deque[_Request | _Task] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._is_closing, self._why = False, "close() was called"
        self._subscribers: list[Callable[[list[Event]], None]] = []
        self.commits = 0
        self._failure: tuple[float, str] | None = None
        self._db = segments.db.cursor()
        self._thread = threading.Thread(target=self._run, name="playhead-writer", daemon=True)
        self._thread.start()

    def submit(self, events: Sequence[NewEvent], organization_id: str | None) -> Future[Appended]:
        """Queue a request; raises QueueFull at once when too many events wait."""
        done: Future[Appended] = Future()
        with self._changed:
            self._check_open()
            if self._waiting and self._waiting + len(events) > _MAX_WAITING:
                raise QueueFull(self._waiting)
            self._waiting += len(events)
            self._queue.append(_Request(events, organization_id, done))
            self._changed.notify()
        return done

    def run(self, work: Callable[[], int]) -> int:
        """Have the writer thread do something between two commits, and wait for it."""
        task = _Task(work, Future())
        with self._changed:
            self._check_open()
            self._queue.append(task)
            self._changed.notify()
        return task.done.result()

    def subscribe(self, callback: Callable[[list[Event]], None]) -> Callable[[], None]:
        """Call back with each group once it is durable, in order, in the writer thread; returns the way out."""
        with self._changed:
            self._subscribers = [*self._subscribers, callback]

        def unsubscribe() -> None:
            with self._changed:
                self._subscribers = [one for one in self._subscribers if one is not callback]

        return unsubscribe

    @property
    def waiting(self) -> int:
        """Events that were submitted and are not stored yet."""
        return self._waiting

    @property
    def failure(self) -> str | None:
        """Why the last commit failed; None when it did not, or is so long ago that it is worth another try."""
        return self._failure[1] if self._failure and time.monotonic() - self._failure[0] < _FAILURE_S else None

    def close(self) -> None:
        """Store all that waits and end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def abandon(self) -> None:
        """In a forked child, which has no such thread: take nothing more."""
        self._changed = threading.Condition()
        self._is_closing, self._why = True, "this process was forked from the one that has it open"

    def _check_open(self) -> None:
        if self._is_closing:
            raise RecordingClosed(self._path, self._why)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._is_closing:
                    self._changed.wait()
                if not self._queue:
                    return
                if isinstance(self._queue[0], _Task):
                    group: list[_Request] = []
                    task = self._queue.popleft()
                else:
                    task, group = None, self._take_group()
            if isinstance(task, _Task):
                if not task.done.set_running_or_notify_cancel():
                    continue
                try:
                    task.done.set_result(task.work())
                except (duckdb.Error, OSError) as error:
                    task.done.set_exception(RecordingFull(self._path, _first_line(error)))
                except Exception as error:
                    task.done.set_exception(error)
            elif group:
                self._commit(group)

    def _take_group(self) -> list[_Request]:
        group: list[_Request] = []
        size = 0
        while self._queue and isinstance(self._queue[0], _Request):
            size += len(self._queue[0].events)
            if group and size > _MAX_GROUP:
                break
            request = self._queue.popleft()
            if isinstance(request, _Request):
                self._waiting -= len(request.events)
                if request.done.set_running_or_notify_cancel():  # from here on it can no longer be cancelled
                    group.append(request)
        return group

    def _commit(self, group: list[_Request]) -> None:
        try:
            stored, answers = self._number(group)
            if stored:
                self._store(stored)
        except Exception as error:
            if not isinstance(error, duckdb.Error | OSError):
                _log.exception("a commit failed")
            full = RecordingFull(self._path, _first_line(error))
            self._failure = time.monotonic(), str(full)
            for request in group:
                request.done.set_exception(full)
            return
        self._failure = None
        for callback in self._subscribers if stored else ():
            try:
                callback(stored)
            except Exception:
                _log.exception("a subscriber of the recording failed")
        for request, answer in zip(group, answers, strict=True):
            request.done.set_result(answer)
        if self._segments.newest.last - self._segments.newest.first + 1 >= self._size:
            try:
                self._segments.rotate()
            except (duckdb.Error, OSError):
                _log.exception("no new segment could be begun; appending to the last one")

    def _number(self, group: list[_Request]) -> tuple[list[Event], list[Appended]]:
        """The events to store, numbered, and what each request is told."""
        created = now()
        expires = expiry(created, self._retention_s)
        known = self._known(group)
        head = self._segments.head
        stored: list[Event] = []
        answers: list[tuple[int, int, int | None, int | None]] = []
        for events, organization_id, _ in group:
            first: int | None = None
            before = len(stored)
            for new in events:
                owner = organization_id if organization_id is not None else new.organization_id
                if not new.fresh_id:
                    if (new.id, owner) in known:
                        continue
                    known.add((new.id, owner))
                head += 1
                first = first or head
                stored.append(
                    Event(
                        head, new.id, new.type, new.timestamp, new.execution_id, new.batch_id, new.job_id, owner,
                        new.data, created, expires,
                    )
                )  # fmt: skip
            fresh = len(stored) - before
            answers.append((len(events), len(events) - fresh, first, head if fresh else None))
        end = Cursor(self._epoch, head)
        return stored, [Appended(*answer, end) for answer in answers]

    def _known(self, group: list[_Request]) -> set[tuple[str, str | None]]:
        """Those (id, organisation) of the group that are in the log already."""
        given = [new.id for request in group for new in request.events if not new.fresh_id]
        found: set[tuple[str, str | None]] = set()
        if not given:
            return found
        digests = event_digests(given)
        with self._segments.held() as segments:
            for segment in segments:
                held = given
                if segment.index is not None:
                    held = [given[place] for place in np.flatnonzero(segment.index.holds(digests))]
                if held:
                    rows = self._db.execute(
                        f"SELECT id::VARCHAR, organization_id FROM {segment.table} "
                        "WHERE id IN (SELECT unnest(?::VARCHAR[])::UUID)",
                        [held],
                    ).fetchall()
                    found.update(rows)
        return found

    def _store(self, stored: list[Event]) -> None:
        segment = self._segments.newest
        rows = to_arrow(stored)  # noqa: F841  (DuckDB reads it by its name)
        self._db.execute(f"INSERT INTO {segment.table} SELECT * FROM rows")
        self.commits += 1
        self._segments.live.add(stored)  # before the head says that they are there
        if not segment.rows:
            segment.oldest = stored[0].seq
        segment.rows += len(stored)
        segment.last = stored[-1].seq


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
