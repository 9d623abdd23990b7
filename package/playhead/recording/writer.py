"""
The one thread that writes: what waits is numbered and committed together, one fsync for all of it (group commit).

A request is all or nothing, and its future is done only when its events are durable. The queue is bounded: when it is
full `Writer.submit` raises `QueueFull` and nothing is taken.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import chain, compress
from typing import NamedTuple

import duckdb
import numpy as np

from playhead.columns import id_bytes
from playhead.errors import RecordingFull
from playhead.events import Cursor, Event, NewEvent
from playhead.recording.identities import EventIds
from playhead.recording.requests import Appended, Request, Requests
from playhead.recording.segments import Segments
from playhead.recording.stored import Stored
from playhead.recording.tail import Tail
from playhead.times import expiry, now

_FAILURE_S = 30.0
_log = logging.getLogger("playhead.recording")


class Sifted(NamedTuple):
    """
    The events of some requests that are to be stored, each once.

    Attributes:
        news, owners, ids: The events, whose they are, and their ids as `id_bytes` makes them.
        asked: How many each request has.
        places: Of which request each event is.
    """

    news: list[NewEvent]
    owners: list[str | None]
    ids: bytes
    asked: list[int]
    places: list[int]

    def stored(self, first: int, retention_s: float) -> Stored:
        """As they are stored from a seq on."""
        created = now()
        return Stored(first, self.news, self.owners, self.ids, created, expiry(created, retention_s))

    def answers(self, first: int, end: Cursor) -> list[Appended]:
        """What each request is told when they have their seqs from ``first`` on."""
        found: list[Appended] = []
        fresh = self.asked
        if len(self.news) < sum(fresh):
            fresh = np.bincount(np.array(self.places, np.int64), minlength=len(self.asked)).tolist()
        for asked, count in zip(self.asked, fresh, strict=True):
            start, last = (first, first + count - 1) if count else (None, None)
            first += count
            found.append(Appended(asked, asked - count, start, last, end))
        return found

    def without(self, gone: Sequence[int]) -> Sifted:
        """Those that are left without some, by their places."""
        kept = np.ones(len(self.news), np.bool_)
        kept[list(gone)] = False
        return self._chosen(kept.tolist())

    def _chosen(self, kept: list[bool]) -> Sifted:
        if all(kept):
            return self
        ids = b"".join(self.ids[16 * place : 16 * place + 16] for place in np.flatnonzero(kept).tolist())
        return Sifted(
            list(compress(self.news, kept)), list(compress(self.owners, kept)), ids, self.asked,
            list(compress(self.places, kept)),
        )  # fmt: skip


class Writer:
    """Numbers, stores and announces events, in one thread."""

    def __init__(
        self, segments: Segments, tail: Tail, *, path: str, epoch: str, retention_s: float
    ) -> None:
        self._segments, self._tail, self._path, self.epoch = segments, tail, path, epoch
        self._retention_s = retention_s
        self._changed = threading.Lock()
        self._subscribers: list[Callable[[list[Event]], None]] = []
        self.commits = 0
        self._failure: tuple[float, str] | None = None
        self._db = segments.db.cursor()
        self._requests = Requests(path, self._commit, "playhead-writer")

    def submit(self, events: Sequence[NewEvent], organization_id: str | None) -> Future[Appended]:
        """Queue a request; raises QueueFull at once when too many events wait."""
        return self._requests.submit(events, organization_id)

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
        return self._requests.waiting

    @property
    def failure(self) -> str | None:
        """Why the last commit failed; None when it did not, or is so long ago that it is worth another try."""
        return self._failure[1] if self._failure and time.monotonic() - self._failure[0] < _FAILURE_S else None

    def close(self) -> None:
        """Store all that waits and end the thread."""
        self._requests.close()

    def abandon(self) -> None:
        """In a forked child, which has no such thread: take nothing more."""
        self._changed = threading.Lock()
        self._requests.abandon()

    def sift(self, group: Sequence[Request], *, trusts_ids: bool = True) -> Sifted:
        """The events of requests that are in the log neither yet nor by another of them; one thread at a time."""
        news = list(chain.from_iterable(request.events for request in group))
        owners: list[str | None] = []
        places: list[int] = []
        for place, (events, owner, _) in enumerate(group):
            owners += [owner] * len(events) if owner is not None else [new.organization_id for new in events]
            places += [place] * len(events)
        ids = id_bytes([new.id for new in news])
        every = Sifted(news, owners, ids, [len(request.events) for request in group], places)
        is_made = [trusts_ids and new.fresh_id for new in news]
        return every._chosen(self._is_new(news, owners, is_made, EventIds.of(ids)))

    def store(self, many: Sequence[Stored]) -> None:
        """
        Make events durable that have their place behind the head, and announce them; one thread at a time.

        Raises:
            RecordingFull: the disk refuses them; nothing of them is stored.
        """
        try:
            self._tail.add(*many)
        except Exception as error:
            if not isinstance(error, duckdb.Error | OSError):
                _log.exception("a commit failed")
            full = RecordingFull(self._path, _first_line(error))
            self._failure = time.monotonic(), str(full)
            raise full from error
        self.commits += 1
        self._failure = None
        for stored in many if self._subscribers else ():
            self._announce(stored.events())

    def _commit(self, group: list[Request]) -> None:
        try:
            first = self._segments.head + 1
            sifted = self.sift(group)
            stored = sifted.stored(first, self._retention_s)
            if stored.news:
                self.store([stored])
        except Exception as error:
            if not isinstance(error, RecordingFull):
                if not isinstance(error, duckdb.Error | OSError):
                    _log.exception("a commit failed")
                error = RecordingFull(self._path, _first_line(error))
                self._failure = time.monotonic(), str(error)
            for request in group:
                request.done.set_exception(error)
            return
        end = Cursor(self.epoch, stored.last)
        for request, answer in zip(group, sifted.answers(first, end), strict=True):
            request.done.set_result(answer)

    def _announce(self, events: list[Event]) -> None:
        for callback in self._subscribers:
            try:
                callback(events)
            except Exception:
                _log.exception("a subscriber of the recording failed")

    def _is_new(
        self, news: Sequence[NewEvent], owners: Sequence[str | None], is_made: Sequence[bool], event_ids: EventIds
    ) -> list[bool]:
        """Which of the events are in the log neither yet nor by another of them; those made here are not."""
        ids = [new.id for new in news]
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
