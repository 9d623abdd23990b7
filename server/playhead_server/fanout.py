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
import time
from collections.abc import Callable
from datetime import datetime

from playhead.events import Event, Filter
from playhead.recording import Recording
from playhead_server.channels import Channels
from playhead_server.groups import CHUNK, Encoded, Group, Push, Stretch, cut

_RING_EVENTS = 50_000
_RING_BYTES = 64 * 2**20
_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.002, 0.005
_NO_SEQ, _WITHOUT_SEQ = b'{"seq":0,', b"{"
_log = logging.getLogger("playhead.server")


class FeedClosed(Exception):
    """No more comes: the server ends."""


class Fanout:
    """The live end of a recording, for one event loop."""

    def __init__(self, recording: Recording, lagged: Callable[[float], None] = lambda lag_s: None) -> None:
        self.recording, self._lagged = recording, lagged
        self.head, self.epoch = recording.head, recording.epoch
        self._base = self.head + 1  # the seq of the ring's first event
        self._ring: list[tuple[Event, bytes]] = []
        self._bytes = 0
        self._groups: dict[Filter, Group] = {}
        self._channels = Channels[Group]()
        self._waiting: dict[Group, None] = {}  # to be served
        self._waits_since: datetime | None = None  # when the oldest event was stored that is to be handed out
        self._timer: asyncio.TimerHandle | None = None
        self._may_serve_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._unsubscribe = recording.subscribe(self._from_writer)
        self.delivered = 0
        self.is_closed = False
        self.turns = 0  # how often another log took the place of the one before
        self._provisional = 0

    @property
    def provisional(self) -> int:
        """The number of the newest provisional stretch."""
        return self._provisional

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return sum(group.members for group in self._groups.values())

    # in

    def _from_writer(self, events: list[Event]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the events are on disk, and nobody waits for them
            self._loop.call_soon_threadsafe(self._take, events)

    def _take(self, events: list[Event]) -> None:
        follows = events[0].seq == self.head + 1
        self.head = events[-1].seq
        if not self._groups:  # nobody reads: whoever comes asks the recording for what was before
            self.lose()
            return
        try:
            if not follows:
                raise LookupError("what is before them was not announced")
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
        if self._waiting and self._waits_since is None:
            self._waits_since = events[0].created_at  # as of all of its commit
        if self._waiting and self._timer is None:
            self._timer = self._loop.call_at(self._may_serve_at, self._serve)

    def lose(self) -> None:
        """Go on without what the ring holds: a hole in it would be a hole in every stream."""
        self._ring.clear()
        self._bytes, self._base = 0, self.head + 1
        for group in list(self._groups.values()):
            group.lose(self.head)
            self._waiting[group] = None

    def leap(self, head: int) -> None:
        """The recording has more than it announced, up to a head; what it announces follows that."""
        self.head = max(self.head, head)
        self.lose()
        if self._timer is None:
            self._timer = self._loop.call_at(self._may_serve_at, self._serve)

    def turn(self, epoch: str, head: int) -> None:
        """The recording is another log, up to a head: let every reader go."""
        self.turns += 1
        self.head, self.epoch = head, epoch
        self.lose()
        for group in self._groups.values():
            group.provisional.clear()
            group.ring()

    def tell_provisional(self, events: list[Event]) -> None:
        """Hand out events that have no seq yet: no cursor moves, and each comes again with its own."""
        told: dict[Group, list[Encoded]] = {}
        for event in events:
            encoded = _WITHOUT_SEQ + event.to_json().removeprefix(_NO_SEQ)
            for group in self._channels.of(event):
                told.setdefault(group, []).append((0, encoded))
        for group, matching in told.items():
            self._provisional += 1
            stretch = Stretch(self.head, self.head, matching, provisional=self._provisional)
            for push in list(group.attached.values()):
                push(stretch)  # whoever cannot take it now has it in the end
            group.foretell(stretch)
            group.ring()

    def forget_provisional(self) -> None:
        """All that was told before it had a seq has one."""
        for group in self._groups.values():
            group.provisional.clear()

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
        self._served()
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
        self._served()
        now = self._loop.time()
        self._may_serve_at = now + min(_MOST_PAUSE_S, max(_LEAST_PAUSE_S, now - begun))

    def _served(self) -> None:
        """All that waited was handed out: say how long its oldest event was on its way."""
        if self._waits_since is not None:
            self._lagged(max(0.0, time.time() - self._waits_since.timestamp()))
            self._waits_since = None

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
        rows = self._ring[after + 1 - self._base : after + 1 - self._base + CHUNK]
        to = rows[-1][0].seq if rows else after
        return cut(after, to, [(event.seq, encoded) for event, encoded in rows if group.where.matches(event)])

    async def _read_back(self, where: Filter, after: int) -> Stretch:
        upto = self.head

        def read() -> Stretch:
            events = self.recording.read(after, upto=upto, where=where, limit=CHUNK)
            self.recording.check(self.recording.cursor(after))  # what was trimmed meanwhile would be skipped unsaid
            to = events[-1].seq if len(events) == CHUNK else upto
            return cut(after, to, [(event.seq, event.to_json()) for event in events])

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
        self._turn, self._heard = fanout.turns, fanout.provisional
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
        if not self.is_caught_up or self.cursor > self._fanout.head or self._is_over:
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
            if self._turn != self._fanout.turns:
                raise FeedClosed
            if self.is_caught_up:
                if self._is_over:
                    raise FeedClosed
                if (told := self._untold()) is not None:
                    return told
                await self._group.bell.wait()
                continue
            stretch = await self._fanout.read(self._group, self.cursor)
            self.cursor = max(self.cursor, stretch.to)
            if self.cursor >= self._fanout.head:
                self._was_at_head = True
            self._fanout.delivered += len(stretch.events)
            return stretch

    @property
    def _is_over(self) -> bool:
        return self._fanout.is_closed or self._turn != self._fanout.turns

    def _untold(self) -> Stretch | None:
        """The next provisional stretch that was not handed over."""
        for stretch in self._group.provisional:
            if stretch.provisional > self._heard:
                self._heard = stretch.provisional
                if stretch.after == self._fanout.head:  # else it may have come with its seq already
                    return stretch
        return None

    def hear(self, stretch: Stretch) -> None:
        """A provisional stretch was handed over."""
        self._heard = max(self._heard, stretch.provisional)

    def close(self) -> None:
        """Leave the group."""
        self._group.attached.pop(self, None)
        self._fanout.leave(self._group)
