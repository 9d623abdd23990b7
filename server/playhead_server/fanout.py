"""
Fan-out: one ring of encoded recent events, contiguous by seq; a reader is a cursor and a filter.

Readers with the same filter form a group. A commit is matched once for each group and wakes only the groups it
concerns; what a group's members are sent between the same two positions is built once. There is no queue for a reader:
one that falls behind reads from the ring, then from the recording.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import NamedTuple

from playhead.events import Event, Filter
from playhead.recording import Recording

_RING_EVENTS = 50_000
_RING_BYTES = 64 * 2**20
_CHUNK = 1_000
_CHUNK_BYTES = 512 * 1024  # many clients take a message of 1 MiB and no larger one
_log = logging.getLogger("playhead.server")


class FeedClosed(Exception):
    """No more comes: the server ends."""


class Stretch(NamedTuple):
    """What a reader is sent for ``(after, to]``: the wire forms of the events that match, with their seqs."""

    after: int
    to: int
    seqs: list[int]
    events: list[bytes]


def _cut(after: int, to: int, matching: list[tuple[int, bytes]]) -> Stretch:
    """A stretch that fits a message which every client takes; the rest is the next one's."""
    size = 0
    for place, (_, encoded) in enumerate(matching):
        size += len(encoded) + 1
        if place and size > _CHUNK_BYTES:
            matching, to = matching[:place], matching[place - 1][0]
            break
    return Stretch(after, to, [seq for seq, _ in matching], [encoded for _, encoded in matching])


class Group:
    """The readers of one filter."""

    def __init__(self) -> None:
        self.latest = 0
        self.members = 0
        self.bell = asyncio.Event()
        self.built: tuple[object, Stretch] | None = None

    def ring(self, seq: int) -> None:
        """Wake the members: an event up to ``seq`` matches."""
        self.latest = seq
        self.built = None
        self.bell.set()
        self.bell = asyncio.Event()


class Fanout:
    """The live end of a recording, for one event loop."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.head = recording.head
        self._base = self.head + 1  # the seq of the ring's first event
        self._ring: list[tuple[Event, bytes]] = []
        self._bytes = 0
        self._groups: dict[Filter, Group] = {}
        self._loop = asyncio.get_running_loop()
        self._unsubscribe = recording.subscribe(self._from_writer)
        self.delivered = 0
        self.is_closed = False

    def _from_writer(self, events: list[Event]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the events are on disk, and nobody waits for them
            self._loop.call_soon_threadsafe(self._take, events)

    def _take(self, events: list[Event]) -> None:
        try:
            fresh = [(event, event.to_json()) for event in events]
        except Exception:  # a hole in the ring would be a hole in every stream: go on without what is in it
            _log.exception("events %d to %d are read from the recording", events[0].seq, events[-1].seq)
            fresh, self._bytes = [], 0
            self._ring.clear()
            self._base = events[-1].seq + 1
        self._ring += fresh
        self._bytes += sum(len(encoded) for _, encoded in fresh)
        self.head = events[-1].seq
        if len(self._ring) > _RING_EVENTS or self._bytes > _RING_BYTES:
            self._trim()
        for where, group in self._groups.items():
            for event in reversed(events):
                if where.matches(event):
                    group.ring(event.seq)
                    break

    def _trim(self) -> None:
        count = 0
        keep_events, keep_bytes = _RING_EVENTS * 3 // 4, _RING_BYTES * 3 // 4
        while len(self._ring) - count > 1 and (len(self._ring) - count > keep_events or self._bytes > keep_bytes):
            self._bytes -= len(self._ring[count][1])
            count += 1
        del self._ring[:count]
        self._base += count

    def join(self, where: Filter) -> Group:
        """The group of a filter, with one member more."""
        group = self._groups.setdefault(where, Group())
        if not group.members:
            group.latest = self.head  # what came before is read, not waited for
        group.members += 1
        return group

    def leave(self, where: Filter, group: Group) -> None:
        """One member less; the last one takes the group along."""
        group.members -= 1
        if not group.members:
            self._groups.pop(where, None)

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return sum(group.members for group in self._groups.values())

    async def read(self, where: Filter, group: Group, after: int) -> Stretch:
        """The next stretch of a reader at ``after``; waits for nothing, may hold no event."""
        if after + 1 < self._base:
            return await self._read_back(where, after)
        key = (after, self.head)
        if group.built is not None and group.built[0] == key:
            return group.built[1]
        rows = self._ring[after + 1 - self._base : after + 1 - self._base + _CHUNK]
        to = rows[-1][0].seq if rows else after
        stretch = _cut(after, to, [(event.seq, encoded) for event, encoded in rows if where.matches(event)])
        group.built = (key, stretch)
        return stretch

    async def _read_back(self, where: Filter, after: int) -> Stretch:
        upto = self.head

        def read() -> Stretch:
            events = self.recording.read(after, upto=upto, where=where, limit=_CHUNK)
            self.recording.check(self.recording.cursor(after))  # what was trimmed meanwhile would be skipped unsaid
            to = events[-1].seq if len(events) == _CHUNK else upto
            return _cut(after, to, [(event.seq, event.to_json()) for event in events])

        return await asyncio.to_thread(read)

    def close(self) -> None:
        """Take no more events, and let every reader go; again is harmless."""
        self.is_closed = True
        self._unsubscribe()
        for group in self._groups.values():
            group.bell.set()


class Reader:
    """One reader's position in the feed: `next` gives what comes, once and in order."""

    def __init__(self, fanout: Fanout, where: Filter, after: int) -> None:
        self._fanout, self.where, self.cursor = fanout, where, after
        self._group = fanout.join(where)
        self._was_at_head = after >= fanout.head  # from then on the group knows all that matches

    @property
    def is_caught_up(self) -> bool:
        """Whether no event that matches lies between the cursor and the head."""
        return self.cursor >= self._fanout.head or (self._was_at_head and self._group.latest <= self.cursor)

    def settle(self) -> int:
        """Move the cursor of a reader that is caught up to the head, and return it."""
        if self.is_caught_up:
            self.cursor = max(self.cursor, self._fanout.head)
        return self.cursor

    async def next(self) -> Stretch:
        """
        The next stretch; may be empty when it reaches the head without a match. Waits when caught up.

        Raises:
            FeedClosed: the server ends, and everything before was given.
            CursorGone: what comes next was deleted before it was read.
        """
        while True:
            if self.is_caught_up:
                if self._fanout.is_closed:
                    raise FeedClosed
                await self._group.bell.wait()
                continue
            stretch = await self._fanout.read(self.where, self._group, self.cursor)
            self.cursor = max(self.cursor, stretch.to)
            if self.cursor >= self._fanout.head:
                self._was_at_head = True
            self._fanout.delivered += len(stretch.events)
            return stretch

    def close(self) -> None:
        """Leave the group."""
        self._fanout.leave(self.where, self._group)
