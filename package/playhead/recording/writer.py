"""
The one thread that writes: what waits is committed together, one fsync for all of it (group commit). A commit costs more
than a millisecond of processor time, whatever is in it; so while several ask at once, the thread rests between two, longer
than the last one took, at most 10 ms.

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
from itertools import chain, compress
from typing import NamedTuple

import duckdb
import numpy as np

from playhead.columns import id_bytes
from playhead.errors import QueueFull, RecordingClosed, RecordingFull
from playhead.events import Cursor, Event, NewEvent
from playhead.recording.identities import EventIds
from playhead.recording.segments import Segments
from playhead.recording.stored import Stored
from playhead.recording.tail import Tail
from playhead.times import expiry, now

_MAX_WAITING = 200_000
_MAX_GROUP = 20_000
_PACE, _MOST_PACE_S = 1.8, 0.01  # from one commit's begin to the next: times what the last took, and at most
_WORTH_IT = 100  # events that are not waited with
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


class Writer:
    """Numbers, stores and announces events, in one thread."""

    def __init__(
        self, segments: Segments, tail: Tail, *, path: str, epoch: str, retention_s: float
    ) -> None:
        self._segments, self._tail, self._path, self._epoch = segments, tail, path, epoch
        self._retention_s = retention_s
        self._queue: deque[_Request] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._may_begin, self._is_shared = 0.0, False  # after the last commit, which was for several requests or not
        self._is_pacing = False
        self._is_closing, self._why = False, RecordingClosed.CLOSED
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
            if not self._is_pacing or self._waiting >= _WORTH_IT:
                self._changed.notify()
        return done

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
        self._is_closing, self._why = True, RecordingClosed.FORKED

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
                self._pace()
                group = self._take_group()
            if group:
                begun = time.monotonic()
                self._commit(group)
                self._may_begin = begun + min(_MOST_PACE_S, _PACE * (time.monotonic() - begun))

    def _pace(self) -> None:
        """Let more come together, for a moment, while there is much to commit and little in each request."""
        self._is_pacing = self._is_shared
        while self._is_pacing and self._waiting < _WORTH_IT and not self._is_closing:
            left = self._may_begin - time.monotonic()
            if left <= 0:
                break
            self._changed.wait(left)
        self._is_pacing = False

    def _take_group(self) -> list[_Request]:
        group: list[_Request] = []
        size = 0
        while self._queue:
            size += len(self._queue[0].events)
            if group and size > _MAX_GROUP:
                break
            request = self._queue.popleft()
            self._waiting -= len(request.events)
            if request.done.set_running_or_notify_cancel():  # from here on it can no longer be cancelled
                group.append(request)
        self._is_shared = len(group) > 1
        return group

    def _commit(self, group: list[_Request]) -> None:
        try:
            stored, answers = self._number(group)
            if stored.news:
                self._tail.add(stored)
                self.commits += 1
        except Exception as error:
            if not isinstance(error, duckdb.Error | OSError):
                _log.exception("a commit failed")
            full = RecordingFull(self._path, _first_line(error))
            self._failure = time.monotonic(), str(full)
            for request in group:
                request.done.set_exception(full)
            return
        self._failure = None
        self._announce(stored)
        for request, answer in zip(group, answers, strict=True):
            request.done.set_result(answer)

    def _announce(self, stored: Stored) -> None:
        subscribers = self._subscribers
        if not stored.news or not subscribers:
            return
        events = stored.events()
        for callback in subscribers:
            try:
                callback(events)
            except Exception:
                _log.exception("a subscriber of the recording failed")

    def _number(self, group: list[_Request]) -> tuple[Stored, list[Appended]]:
        """What to store, numbered, and what each request is told."""
        created = now()
        head = self._segments.head
        news = list(chain.from_iterable(request.events for request in group))
        owners: list[str | None] = []
        for events, owner, _ in group:
            owners += [owner] * len(events) if owner is not None else [new.organization_id for new in events]
        ids = id_bytes([new.id for new in news])
        event_ids = EventIds.of(ids)
        is_new = self._is_new(news, owners, event_ids)
        answers: list[Appended] = []
        seq, place = head, 0
        end = Cursor(self._epoch, head + sum(is_new))
        for events, _, _ in group:
            fresh = sum(is_new[place : place + len(events)])
            place += len(events)
            first, last = (seq + 1, seq + fresh) if fresh else (None, None)
            seq += fresh
            answers.append(Appended(len(events), len(events) - fresh, first, last, end))
        if not all(is_new):
            news, owners = list(compress(news, is_new)), list(compress(owners, is_new))
            ids = b"".join(ids[16 * place : 16 * place + 16] for place in np.flatnonzero(is_new).tolist())
        return Stored(head + 1, news, owners, ids, created, expiry(created, self._retention_s)), answers

    def _is_new(self, news: Sequence[NewEvent], owners: Sequence[str | None], event_ids: EventIds) -> list[bool]:
        """Which of the events are in the log neither yet nor by another of them."""
        ids = [new.id for new in news]
        is_made = [new.fresh_id for new in news]
        known: set[tuple[str, str | None]] = set()
        if not any(is_made):
            known = self._known(ids, event_ids)
        elif not all(is_made):
            given = np.flatnonzero(~np.array(is_made, np.bool_))
            known = self._known([ids[place] for place in given.tolist()], event_ids.take(given))
        if not known and len(set(ids)) == len(ids):
            return [True] * len(ids)
        found = []
        for identity, owner, made in zip(ids, owners, is_made, strict=True):
            found.append(made or (identity, owner) not in known)
            if not made:
                known.add((identity, owner))
        return found

    def _known(self, given: Sequence[str], event_ids: EventIds) -> set[tuple[str, str | None]]:
        """Those (id, organisation) of the events that are in the log already."""
        found: set[tuple[str, str | None]] = set()
        if self._tail.may_hold(given):
            self._tail.settle()
        with self._segments.held(last=self._segments.newest.last) as segments:
            for segment in segments:
                held = given
                if segment.index is not None:
                    held = [given[place] for place in np.flatnonzero(segment.index.holds(event_ids)).tolist()]
                if held:
                    rows = self._db.execute(
                        f"SELECT id::VARCHAR, organization_id FROM {segment.table} "
                        "WHERE id IN (SELECT unnest(?::VARCHAR[])::UUID)",
                        [held],
                    ).fetchall()
                    found.update(rows)
        return found


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
