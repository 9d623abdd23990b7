"""
Fan-out: one ring of encoded recent events, contiguous by seq; a reader is a cursor and a filter.

Readers with the same filter form a group, and an event is given to the groups that it concerns (`channels`). What a group's
readers are sent between two positions is built once. A reader that has caught up is handed it (`Reader.attach`), or waits
for it (`Reader.next`); one that falls behind asks on from its cursor, of the ring, then of the recording. There is no queue
for a reader.

Groups are served at once when nothing was lately, else after as long as serving took the last time, 2 to 250 ms: what comes
meanwhile goes together, so the loop is never more than half busy with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import bisect_right
from collections.abc import Callable
from operator import itemgetter
from typing import Any, TypeVar

from playhead.events import Event, Filter
from playhead.recording import Recording
from playhead_server.channels import Channels

_RING_EVENTS = 50_000
_RING_BYTES = 64 * 2**20
_CHUNK = 1_000
_CHUNK_BYTES = 512 * 1024  # many clients take a message of 1 MiB and no larger one
_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.002, 0.005
_log = logging.getLogger("playhead.server")
_seq_of = itemgetter(0)
Encoded = tuple[int, bytes]  # the seq of an event and its wire form
Form = TypeVar("Form")


class FeedClosed(Exception):
    """No more comes: the server ends."""


class Stretch:
    """
    What readers of one filter are sent for ``(after, to]``.

    Attributes:
        seqs, events: The events that match, in order: their seqs and wire forms.
    """

    __slots__ = ("_forms", "after", "events", "seqs", "to")

    def __init__(self, after: int, to: int, matching: list[Encoded]) -> None:
        self.after, self.to = after, to
        self.seqs = [seq for seq, _ in matching]
        self.events = [encoded for _, encoded in matching]
        self._forms: dict[object, Any] = {}

    def form(self, key: object, build: Callable[[], Form]) -> Form:
        """What it is on some wire, built once for all who share it."""
        if key not in self._forms:
            self._forms[key] = build()
        found: Form = self._forms[key]
        return found


Push = Callable[[Stretch], bool]


def _cut(after: int, to: int, matching: list[Encoded]) -> Stretch:
    """A stretch that fits a message which every client takes; the rest is the next one's."""
    size = 0
    for place, (_, encoded) in enumerate(matching):
        size += len(encoded) + 1
        if place and (size > _CHUNK_BYTES or place >= _CHUNK):
            matching, to = matching[:place], matching[place - 1][0]
            break
    return Stretch(after, to, matching)


class Group:
    """
    The readers of one filter.

    Attributes:
        latest: The newest seq that matches, of all since the group began.
        told: Up to where those who are handed everything were.
    """

    def __init__(self, where: Filter, head: int) -> None:
        self.where = where
        self.members = 0
        self.latest = self.told = self._since = head
        self.attached: dict[Reader, Push] = {}
        self.bell = asyncio.Event()
        self._recent: list[Encoded] = []  # all that match after `_since`
        self._built: tuple[tuple[int, int], Stretch] | None = None

    def take(self, seq: int, encoded: bytes) -> None:
        """An event that matches."""
        self.latest = seq
        self._recent.append((seq, encoded))

    def forget(self, before: int) -> None:
        """Let go of what the ring does not hold any more."""
        count = bisect_right(self._recent, before - 1, key=_seq_of)
        if count:
            self._since = max(self._since, self._recent[count - 1][0])
            del self._recent[:count]

    def lose(self, upto: int) -> None:
        """What matches up to a seq is not known: readers look for themselves."""
        self.latest = self._since = self.told = upto
        self._recent.clear()
        for reader in list(self.attached):
            reader.fall()

    def knows(self, after: int) -> bool:
        """Whether it has all that matches after a position."""
        return after >= self._since

    def stretch(self, after: int, head: int) -> Stretch:
        """What matches after a position that it knows."""
        key = (after, self.latest)
        if self._built is None or self._built[0] != key:
            place = bisect_right(self._recent, after, key=_seq_of)
            self._built = key, _cut(after, head, self._recent[place : place + _CHUNK + 1])
        return self._built[1]

    def ring(self) -> None:
        """Wake those who wait."""
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
        self._channels = Channels[Group]()
        self._waiting: dict[Group, None] = {}  # to be served
        self._timer: asyncio.TimerHandle | None = None
        self._may_serve_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._unsubscribe = recording.subscribe(self._from_writer)
        self.delivered = 0
        self.is_closed = False

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return sum(group.members for group in self._groups.values())

    # in

    def _from_writer(self, events: list[Event]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the events are on disk, and nobody waits for them
            self._loop.call_soon_threadsafe(self._take, events)

    def _take(self, events: list[Event]) -> None:
        self.head = events[-1].seq
        if not self._groups:  # nobody reads: whoever comes asks the recording for what was before
            self.lose()
            return
        try:
            fresh = [(event, event.to_json()) for event in events]
        except Exception:
            _log.exception("events %d to %d are read from the recording", events[0].seq, events[-1].seq)
            self.lose()
        else:
            self._ring += fresh
            self._bytes += sum(len(encoded) for _, encoded in fresh)
            for event, encoded in fresh:
                for group in self._channels.of(event):
                    group.take(event.seq, encoded)
                    self._waiting[group] = None
            if len(self._ring) > _RING_EVENTS or self._bytes > _RING_BYTES:
                self._trim()
        if self._waiting and self._timer is None:
            self._timer = self._loop.call_at(self._may_serve_at, self._serve)

    def lose(self) -> None:
        """Go on without what the ring holds: a hole in it would be a hole in every stream."""
        self._ring.clear()
        self._bytes, self._base = 0, self.head + 1
        for group in list(self._groups.values()):
            group.lose(self.head)
            self._waiting[group] = None

    def _trim(self) -> None:
        count = 0
        keep_events, keep_bytes = _RING_EVENTS * 3 // 4, _RING_BYTES * 3 // 4
        while len(self._ring) - count > 1 and (len(self._ring) - count > keep_events or self._bytes > keep_bytes):
            self._bytes -= len(self._ring[count][1])
            count += 1
        del self._ring[:count]
        self._base += count
        for group in self._waiting:  # what somebody is still to be handed stays until it was
            self._serve_one(group)
        self._waiting.clear()
        for group in self._groups.values():
            group.forget(self._base)

    # out

    def _serve(self) -> None:
        """Hand every group what has come for it."""
        self._timer = None
        begun = self._loop.time()
        waiting, self._waiting = self._waiting, {}
        for group in waiting:
            self._serve_one(group)
        now = self._loop.time()
        self._may_serve_at = now + min(_MOST_PAUSE_S, max(_LEAST_PAUSE_S, now - begun))

    def _serve_one(self, group: Group) -> None:
        while group.attached and group.told < group.latest:
            stretch = group.stretch(group.told, self.head)
            group.told = stretch.to
            for reader, push in list(group.attached.items()):
                if push(stretch):
                    reader.cursor = stretch.to
                    self.delivered += len(stretch.events)
                else:
                    reader.fall()
        group.ring()

    def attach(self, group: Group, reader: Reader, push: Push) -> None:
        """Hand a reader that has caught up what comes."""
        self._serve_one(group)  # what it has already must not be among what is handed to the others next
        group.told = self.head
        group.attached[reader] = push

    def join(self, where: Filter) -> Group:
        """The group of a filter, with one member more."""
        group = self._groups.get(where)
        if group is None:  # what came before is read, not waited for
            group = self._groups[where] = Group(where, self.head)
            self._channels.add(group)
        group.members += 1
        return group

    def leave(self, group: Group) -> None:
        """One member less; the last one takes the group along."""
        group.members -= 1
        if not group.members:
            self._groups.pop(group.where, None)
            self._channels.remove(group)
            self._waiting.pop(group, None)

    async def read(self, group: Group, after: int) -> Stretch:
        """The next stretch of a reader at ``after``; waits for nothing, may hold no event."""
        if group.knows(after):
            return group.stretch(after, self.head)
        if after + 1 < self._base:
            return await self._read_back(group.where, after)
        rows = self._ring[after + 1 - self._base : after + 1 - self._base + _CHUNK]
        to = rows[-1][0].seq if rows else after
        return _cut(after, to, [(event.seq, encoded) for event, encoded in rows if group.where.matches(event)])

    async def _read_back(self, where: Filter, after: int) -> Stretch:
        upto = self.head

        def read() -> Stretch:
            events = self.recording.read(after, upto=upto, where=where, limit=_CHUNK)
            self.recording.check(self.recording.cursor(after))  # what was trimmed meanwhile would be skipped unsaid
            to = events[-1].seq if len(events) == _CHUNK else upto
            return _cut(after, to, [(event.seq, event.to_json()) for event in events])

        return await asyncio.to_thread(read)

    def close(self) -> None:
        """Take no more events, hand out what there is, and let every reader go; again is harmless."""
        self.is_closed = True
        self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()
            self._serve()
        for group in self._groups.values():
            group.bell.set()


class Reader:
    """One reader's position in the feed, and what comes from there on, once and in order."""

    def __init__(self, fanout: Fanout, where: Filter, after: int) -> None:
        self._fanout, self.where, self.cursor = fanout, where, after
        self._group = fanout.join(where)
        self._was_at_head = after >= fanout.head  # from then on the group knows all that matches
        self._when_fallen: Callable[[], None] = lambda: None

    @property
    def is_caught_up(self) -> bool:
        """Whether no event that matches lies between the cursor and the head."""
        return self.cursor >= self._fanout.head or (self._was_at_head and self._group.latest <= self.cursor)

    def settle(self) -> int:
        """Move the cursor of a reader that is caught up to the head, and return it."""
        if self.is_caught_up:
            self.cursor = max(self.cursor, self._fanout.head)
        return self.cursor

    def attach(self, push: Push, when_fallen: Callable[[], None]) -> bool:
        """
        From now on have each stretch handed over, if this reader is exactly where the others are; whether it is.

        ``push`` answers whether it took one. When it did not, or cannot be told any more, ``when_fallen`` is called: then
        the rest is to be asked for with `next`.
        """
        if not self.is_caught_up or self.cursor > self._fanout.head or self._fanout.is_closed:
            return False
        self.settle()
        self._when_fallen = when_fallen
        self._fanout.attach(self._group, self, push)
        return True

    def fall(self) -> None:
        """Be handed no more."""
        if self._group.attached.pop(self, None) is not None:
            self._when_fallen()

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
            stretch = await self._fanout.read(self._group, self.cursor)
            self.cursor = max(self.cursor, stretch.to)
            if self.cursor >= self._fanout.head:
                self._was_at_head = True
            self._fanout.delivered += len(stretch.events)
            return stretch

    def close(self) -> None:
        """Leave the group."""
        self._group.attached.pop(self, None)
        self._fanout.leave(self._group)
