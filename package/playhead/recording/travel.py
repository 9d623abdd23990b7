"""
Time travel: who was active at any position, from the nearest keyframe and the events after it.

Keyframes are made in the background when a segment is sealed, and for the newest one when somebody asks. A pair whose
events lie on both sides of the keyframe without being in it (it had ended, or an organisation asks for its own events,
or its first events were deleted) is read whole, found by the index: so every answer is what the events held make.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from playhead.attempts import ATTEMPTS, fold
from playhead.columns import micros
from playhead.events import Cursor, Filter
from playhead.recording.history import EVERYTHING, History, Pair, Span, pairs_of
from playhead.recording.index import pair_digests
from playhead.recording.keyframes import Keyframes, to_keep
from playhead.recording.segments import Segment, Segments
from playhead.recording.sql import At

_BEFORE_ALL = -(2**62)
_log = logging.getLogger("playhead.recording")


class _Start(NamedTuple):
    """A keyframe to go on from."""

    position: int
    rows: pa.Table


class Travel:
    """Keyframes of all segments, and what was active where."""

    def __init__(self, history: History, segments: Segments) -> None:
        self._history, self._segments = history, segments
        self._lock = threading.RLock()
        segments.when_lost = self._when_lost
        for segment in segments.all()[:-1]:
            path = segments.beside(segment, ".states.arrow")
            segment.states = Keyframes.read(path, segment.first) if path is not None else None

    def active(self, at: At, organization_id: str | None = None) -> pa.Table:
        """The attempts that were active at a position, all of its events held considered; schema `ATTEMPTS`."""
        while True:
            version = self._segments.version
            head = self._segments.head
            upto = min(at.seq, head) if isinstance(at, Cursor) else head
            moment = at if isinstance(at, datetime) else None
            start = self._start(upto, moment)
            rows = self._advance(start, Span(start.position + 1, upto), moment, organization_id)
            if version == self._segments.version:  # else something was deleted between two readings
                return rows

    def finish(self, segment: Segment) -> None:
        """Make the keyframes of a sealed segment, and keep them beside it."""
        with self._lock, self._segments.holding(segment) as is_there:
            path = self._segments.beside(segment, ".states.arrow")
            if not is_there or path is None or (segment.states is not None and segment.states.is_whole):
                return
            states = self._extended(segment, segment.last)
            states.is_whole = True
            try:
                states.save(path, segment.first)
            except OSError as error:
                _log.warning("the states of segment %d were not written: %s", segment.first, error)

    @contextlib.contextmanager
    def changing(self, first: int) -> Iterator[None]:
        """While events from a segment on are deleted: its keyframes and all later ones are of no use any more."""
        with self._lock:
            self._forget(first)
            try:
                yield
            finally:
                self._forget(first)

    def _when_lost(self, first: int) -> None:
        with self._lock:
            self._forget(first)

    def _forget(self, first: int) -> None:
        for segment in self._segments.all():
            if segment.first >= first:
                segment.states = None
                path = self._segments.beside(segment, ".states.arrow")
                if path is not None and not self._segments.is_read_only:
                    path.unlink(missing_ok=True)

    def _start(self, upto: int, moment: datetime | None) -> _Start:
        """The last keyframe of which every event counts."""
        limit = 2**62 if moment is None else micros(moment)
        with self._lock:
            for segment in reversed(self._segments.all()):
                if segment.first - 1 > upto:
                    continue
                states = segment.states
                if states is None or not states.is_whole:
                    states = self._extended(segment, min(upto, segment.last))
                fits = [
                    place for place, (position, latest) in enumerate(zip(states.positions, states.latest, strict=False))
                    if position <= upto and latest <= limit
                ]  # fmt: skip
                if fits:
                    return _Start(states.positions[fits[-1]], states.rows(fits[-1]))
        return _Start(0, ATTEMPTS.empty_table())

    def _extended(self, segment: Segment, upto: int) -> Keyframes:
        """The keyframes of a segment, made as far as a position; those of segments before it that it needs, too."""
        every = self._segments.all()
        firsts = [one.first for one in every]
        chain = [segment]
        for one in reversed([one for one in every if one.first < segment.first]):
            if chain[-1].states is not None:
                break
            chain.append(one)
        before: Keyframes | None = None
        for one in reversed(chain):
            if one.states is None:
                states = Keyframes()
                if before is None:
                    states.add(one.first - 1, _BEFORE_ALL, ATTEMPTS.empty_table())
                else:
                    self._step(before, one.first - 1, firsts, into=states)
                one.states = states
            before = one.states
            while not before.is_whole and before.next <= (upto if one is segment else one.last):
                self._step(before, before.next, firsts, into=before)
        assert before is not None
        return before

    def _step(self, states: Keyframes, position: int, firsts: list[int], *, into: Keyframes) -> None:
        """From the last keyframe to the next position."""
        start = _Start(states.positions[-1], states.rows(len(states.positions) - 1))
        span = Span(start.position + 1, position)
        latest = max(states.latest[-1], self._history.latest(span))
        into.add(position, latest, to_keep(self._advance(start, span, None, None), [one for one in firsts if one <= position]))

    def _advance(self, start: _Start, span: Span, moment: datetime | None, organization_id: str | None) -> pa.Table:
        """The attempts after some more events, from a keyframe."""
        whose = Filter(organization_id=organization_id) if organization_id is not None else EVERYTHING
        events = self._history.job_events(whose, span, moment)
        kept, stale = _usable(start.rows, self._segments.oldest, organization_id)
        known = set(pairs_of(kept))
        asked = [pair for pair in pairs_of(events) if pair not in known] + pairs_of(stale)
        if asked and start.position:
            events = pa.concat_tables([self._earlier(asked, start.position, whose), events])
        return fold(events, kept)

    def _earlier(self, pairs: list[Pair], position: int, whose: Filter) -> pa.Table:
        """The events up to a position of those of the pairs that have any."""
        digests = pair_digests(pairs)
        found = np.zeros(len(pairs), bool)
        first = position
        for segment in self._segments.all():
            if segment.first <= position:
                begins, _, _ = self._segments.indexed(segment).pairs(digests)
                hits = (begins > 0) & (begins <= position)
                if hits.any():
                    found |= hits
                    first = min(first, int(begins[hits].min()))
        wanted = [pair for pair, is_there in zip(pairs, found, strict=True) if is_there]
        return self._history.events_of_pairs(wanted, Span(first, position), None, whose.organization_id)


def _usable(rows: pa.Table, oldest: int, organization_id: str | None) -> tuple[pa.Table, pa.Table]:
    """Of a keyframe: the rows that hold as they are, and those whose pair is to be read."""
    is_stale = pc.less(rows["pair_first_seq"], oldest)
    if organization_id is not None:
        is_stale = pc.or_(is_stale, rows["is_mixed"])
    if not pc.any(is_stale).as_py():
        kept, stale = rows, rows.slice(0, 0)
    else:
        kept, stale = rows.filter(pc.invert(is_stale)), rows.filter(is_stale)
    if organization_id is not None:
        kept = kept.filter(pc.equal(kept["organization_id"], organization_id))
    return kept, stale
