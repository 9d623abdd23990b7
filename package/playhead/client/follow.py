"""
Following at the reader's own pace: what waits between a watch and a loop over its events, bounded and in nobody's way.

A watch's callback only puts events into the inbox. When the reader is too far behind, the watch is paused: it reads on
from its cursor once there is room, so memory is bounded and nothing is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Protocol, Self

from playhead.client.status import ConnectionState
from playhead.errors import PlayheadError
from playhead.events import Event

OnEvents = Callable[[list[Event], str], None]
OnStatus = Callable[[ConnectionState], None]
OnReset = Callable[[str], None]
OnProvisional = Callable[[list[Event]], None]
_FULL, _ROOM = 10_000, 2_000


class Watch(Protocol):
    """A reader that follows until it is closed."""

    @property
    def error(self) -> PlayheadError | None:
        """Why it ended by itself, when it did."""

    @property
    def status(self) -> ConnectionState:
        """How it is connected."""

    @property
    def cursor(self) -> str:
        """The position up to which everything was given on."""

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, by itself or with its client; one that ended by an error was not."""

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call back, in any thread, once it is closed or has ended by an error."""

    def pause(self) -> None:
        """Read no further until `resume`."""

    def resume(self) -> None:
        """Read on."""

    def close(self) -> None:
        """Stop; again is harmless."""


class _Over(Exception):
    """The watch was closed, and all that it gave was taken."""


class _Inbox:
    """Events of one watch in order, each with the cursor after it; ``ring`` is called, in any thread, when some come."""

    def __init__(self, open_watch: Callable[[OnEvents, OnStatus], Watch], ring: Callable[[], None]) -> None:
        self._ring = ring
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._is_paused = False
        with self._lock:  # the first events may come before there is a name for what brings them
            self.watch = open_watch(self._put, lambda state: None)
        self.watch.when_over(ring)

    def _put(self, events: list[Event], cursor: str) -> None:
        if not events:
            return
        with self._lock:
            self._events.extend(events)
            if len(self._events) >= _FULL and not self._is_paused:
                self._is_paused = True
                self.watch.pause()
        self._ring()

    def take(self) -> Event | None:
        """The next event; None when there is none yet. After the last one raises the watch's error, or _Over."""
        with self._lock:
            event = self._events.popleft() if self._events else None
            if self._is_paused and len(self._events) < _ROOM:
                self._is_paused = False
                self.watch.resume()
        if event is None and self.watch.error is not None:
            raise self.watch.error
        if event is None and self.watch.is_closed:
            raise _Over
        return event


class Follow(Iterator[Event]):
    """Events as they come: a loop over it waits for the next one and ends only by an error, a break, or `close`."""

    def __init__(self, open_watch: Callable[[OnEvents, OnStatus], Watch]) -> None:
        self._bell = threading.Event()
        self._is_closed = False
        self._inbox = _Inbox(open_watch, self._bell.set)

    @property
    def status(self) -> ConnectionState:
        """How it is connected."""
        return self._inbox.watch.status

    def __next__(self) -> Event:
        while not self._is_closed:
            self._bell.clear()
            try:
                event = self._inbox.take()
            except _Over:
                break
            if event is not None:
                return event
            self._bell.wait()
        raise StopIteration

    def close(self) -> None:
        """End it; a loop in another thread ends too."""
        self._is_closed = True
        self._inbox.watch.close()
        self._bell.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_inbox"):
            self._inbox.watch.close()


class AsyncFollow(AsyncIterator[Event]):
    """The same, awaited; cancelling the wait loses no event."""

    def __init__(self, open_watch: Callable[[OnEvents, OnStatus], Watch]) -> None:
        loop, self._bell = asyncio.get_running_loop(), asyncio.Event()
        self._is_closed = False

        def ring() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                loop.call_soon_threadsafe(self._bell.set)

        self._inbox = _Inbox(open_watch, ring)

    @property
    def status(self) -> ConnectionState:
        """How it is connected."""
        return self._inbox.watch.status

    async def __anext__(self) -> Event:
        while not self._is_closed:
            self._bell.clear()
            try:
                event = self._inbox.take()
            except _Over:
                break
            if event is not None:
                return event
            await self._bell.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End it."""
        self._is_closed = True
        self._inbox.watch.close()
        self._bell.set()

    def __del__(self) -> None:
        if hasattr(self, "_inbox"):
            self._inbox.watch.close()
